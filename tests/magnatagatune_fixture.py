"""A miniature of MagnaTagATune: all 16 folders, its tables, its bad files."""

import csv

import numpy as np

RATE_HZ = 16000
STUB_S = 0.6
FOLDERS = '0123456789abcdef'
# All tags in the order of the columns of annotations_final.csv (as listed by
# github.com/keunwoochoi/magnatagatune-list).
TAG_NAMES = tuple(
  """no voice,singer,duet,plucking,hard rock,world,bongos,harpsichord,
female singing,clasical,sitar,chorus,female opera,male vocal,vocals,clarinet,
heavy,silence,beats,men,woodwind,funky,no strings,chimes,foreign,no piano,horns,
classical,female,no voices,soft rock,eerie,spacey,jazz,guitar,quiet,no beat,
banjo,electric,solo,violins,folk,female voice,wind,happy,ambient,new age,synth,
funk,no singing,middle eastern,trumpet,percussion,drum,airy,voice,repetitive,
birds,space,strings,bass,harpsicord,medieval,male voice,girl,keyboard,acoustic,
loud,classic,string,drums,electronic,not classical,chanting,no violin,not rock,
no guitar,organ,no vocal,talking,choral,weird,opera,soprano,fast,
acoustic guitar,electric guitar,male singer,man singing,classical guitar,
country,violin,electro,reggae,tribal,dark,male opera,no vocals,irish,
electronica,horn,operatic,arabic,lol,low,instrumental,trance,chant,strange,
drone,synthesizer,heavy metal,modern,disco,bells,man,deep,fast beat,industrial,
hard,harp,no flute,jungle,pop,lute,female vocal,oboe,mellow,orchestral,viola,
light,echo,piano,celtic,male vocals,orchestra,eastern,old,flutes,punk,spanish,
sad,sax,slow,male,blues,vocal,indian,no singer,scary,india,woman,woman singing,
rock,dance,piano solo,guitars,no drums,jazzy,singing,cello,calm,female vocals,
voices,different,techno,clapping,house,monks,flute,not opera,not english,
oriental,beat,upbeat,soft,noise,choir,female singer,rap,metal,hip hop,quick,
water,baroque,women,fiddle,english""".replace('\n', '').split(',')
)
# The files of the archive that have no bytes.
EMPTY = (
  '6/norine_braun-now_and_zen-08-gently-117-146.mp3',
  '8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster'
  '-204-233.mp3',
  '9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien'
  '_xiveme_ordre_couperin-88-117.mp3',
)
CORRUPT = '2/some_artist-noise-03-hiss-0-29.mp3'
MISSING = 'e/some_artist-lost-04-gone-0-29.mp3'
UNLISTED = '4/some_artist-unlisted-05-extra-0-29.mp3'


def tone_hz(index):
  return 200 + 40 * index


def write_mp3(path, duration_s, hz=440.0, *, states_padding=True):
  """Write a tone as the archive has it: 16 kHz, 32 kbps, mono, by LAME."""
  import av

  num_samples = round(duration_s * RATE_HZ)
  tone_T = 0.4 * np.sin(2 * np.pi * hz * np.arange(num_samples) / RATE_HZ)
  options = {} if states_padding else {'write_xing': '0'}
  with av.open(str(path), 'w', format='mp3', options=options) as file:
    file.metadata['title'] = 'A Song (EXCERPT)'
    stream = file.add_stream('libmp3lame', rate=RATE_HZ)
    stream.bit_rate, stream.layout = 32000, 'mono'
    frame = av.AudioFrame.from_ndarray(
      tone_T[None].astype(np.float32), format='fltp', layout='mono'
    )
    frame.sample_rate, frame.pts = RATE_HZ, 0
    file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def good_clips():
  """Return (clip_id, mp3_path, tags) of two clips of one song per folder.

  The second ones of the folders 0 and d have no tag of the top 50.
  """
  from dance2wave.datasets.magnatagatune.tags import TOP_50

  clips = []
  for index in range(32):
    folder, second = FOLDERS[index // 2], index % 2
    path = (
      f'{folder}/artist_{folder}-the_album-0{index % 7 + 1 - second}-a_song-'
      f'{29 * second}-{29 * second + 29}.mp3'
    )
    words = {'bongos'}
    if not (second and folder in '0d'):
      words |= {TOP_50[index], TOP_50[index + 18]}
    clips.append((str(2 + 3 * index), path, words))
  return clips


def rows():
  """Return all lines of annotations_final.csv, the first one too."""
  bad = [(str(35644 + i), path, {'guitar'}) for i, path in enumerate(EMPTY)]
  bad += [('40000', CORRUPT, {'piano'}), ('40001', MISSING, {'opera'})]
  table = [['clip_id', *TAG_NAMES, 'mp3_path']]
  for clip_id, path, words in good_clips() + bad:
    flags = [str(int(tag in words)) for tag in TAG_NAMES]
    table.append([clip_id, *flags, path])
  return table


def write_table(path, table):
  """Write quoted cells with tabs, as the publisher does."""
  with path.open('w', encoding='utf-8', newline='') as file:
    csv.writer(
      file, delimiter='\t', quoting=csv.QUOTE_ALL, lineterminator='\n'
    ).writerows(table)


def write_clip_info(path):
  """Write titles of the good clips, and of one that has no sound."""
  table = [
    (
      *('clip_id', 'track_number', 'title', 'artist', 'album', 'url'),
      *('segmentStart', 'segmentEnd', 'original_url', 'mp3_path'),
    ),
    ('1', '9', 'Never Cut', 'Nobody', 'None', 'http://x/', '0', '29', '', ''),
  ]
  for clip_id, mp3_path, _ in good_clips():
    title = f'A "Song" of {mp3_path[0]}'
    start, end = mp3_path.removesuffix('.mp3').split('-')[-2:]
    facts = ('1', title, 'Artist É', 'The Album', 'http://x/', start, end)
    table.append((clip_id, *facts, 'http://x/a.mp3', mp3_path))
  write_table(path, table)


def write_tree(folder, sounds='.'):
  """Write the tables, 32 good sounds and 6 others."""
  write_table(folder / 'annotations_final.csv', rows())
  write_clip_info(folder / 'clip_info_final.csv')
  place = folder / sounds
  for name in FOLDERS:
    (place / name).mkdir(parents=True)
  for index, (_, path, _) in enumerate(good_clips()):
    write_mp3(place / path, STUB_S, tone_hz(index))
  for path in EMPTY:
    (place / path).touch()
  (place / CORRUPT).write_bytes(np.random.default_rng(0).bytes(3000))
  write_mp3(place / UNLISTED, STUB_S)
  return folder
