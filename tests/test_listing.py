import pytest

from dance2wave.datasets.clip_folder.folder import find_videos
from dance2wave.datasets.kinetics_dance import layouts
from dance2wave.datasets.listing import visible_files
from data_prep import curate, extract_poses, kinetics_local

CLIP = '-05qSkAhM6x.mp4'


@pytest.fixture
def folder(tmp_path):
  """A folder whose second half lies elsewhere, with a way back."""
  inside, outside = tmp_path / 'inside', tmp_path / 'outside'
  for path in (
    inside / 'z' / 'a.mp4',
    inside / '.cache' / 'b.mp4',
    inside / '.c.mp4',
    outside / 'deep' / CLIP,
    outside / '._x.mp4',
  ):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  (inside / 'more').symlink_to(outside)
  (inside / 'twice').symlink_to(outside)
  (inside / 'a').symlink_to(inside / 'z')
  (inside / 'd.mp4').symlink_to(inside / 'z' / 'a.mp4')
  (inside / 'e.mp4').symlink_to(inside / 'nowhere')
  (outside / 'deep' / 'back').symlink_to(inside)
  (outside / 'deep' / 'self').symlink_to(outside / 'deep')
  return inside


def test_links_are_followed_and_every_folder_counts_once(folder):
  names = [p.relative_to(folder).as_posix() for p in visible_files(folder)]
  assert names == ['d.mp4', 'e.mp4', f'more/deep/{CLIP}', 'z/a.mp4']


@pytest.mark.parametrize(
  'find',
  [
    lambda folder: [video.path for video in find_videos(folder)],
    layouts.files_of,
    lambda folder: [
      job.video for job in extract_poses.find_jobs([folder], folder)
    ],
    lambda folder: [
      job.video for job in curate.find_jobs([folder], folder / 'out')[1]
    ],
    lambda folder: [
      found.piece.path for found in kinetics_local.find_local(folder)[0]
    ],
  ],
  ids=['clip_folder', 'kinetics_dance', 'extract_poses', 'curate', 'local'],
)
def test_whoever_reads_a_folder_finds_what_is_linked_into_it(folder, find):
  assert [p for p in find(folder) if p.name == CLIP] == [
    folder / 'more' / 'deep' / CLIP
  ]


@pytest.mark.parametrize('suffix', ['.mpg', '.MPEG', '.mp4', '.webm'])
def test_the_tools_and_the_dataset_know_the_same_videos(suffix, tmp_path):
  (tmp_path / f'a{suffix}').touch()
  (tmp_path / 'b.ts').touch()
  (video,) = find_videos(tmp_path)
  (extracted,) = extract_poses.find_jobs([tmp_path], tmp_path)
  _, (curated,) = curate.find_jobs([tmp_path], tmp_path / 'out')
  assert video.path == extracted.video == curated.video
