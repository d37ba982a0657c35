"""Which of several people is the dancer."""

import dataclasses

import numpy as np

MAX_LOST_S = 2.0
_MAX_STEP = 0.5  # Mean landmark distance between frames, in body sizes.
_MAX_STEP_HZ = 1.0  # Body sizes per second more while out of sight.
_MAX_SIZE_RATIO = 2.0
_SAME_PERSON = 0.1
_MIN_SHARE = 0.1  # Of the longest track, to be counted as a person.
# Shorter or smaller sightings, beside the dancer's, are false ones: a detector
# sees people for some frames in a curtain, or far away.
_MIN_SIGHTING_S = 1.0
_MIN_SIGHTING_SIZE = 0.25  # Mean size, of the dancer's.


@dataclasses.dataclass(eq=False)
class _Track:
  last_JD: np.ndarray
  last_s: float
  picks: dict[int, int]  # Frame -> index of the person in that frame.
  total_size: float


def _size(person_JD: np.ndarray) -> float:
  """Diagonal of the box around all landmarks."""
  return float(np.hypot(*np.ptp(person_JD[:, :2], axis=0)))


def _distance(a_JD: np.ndarray, b_JD: np.ndarray) -> float:
  """Mean landmark distance in sizes of the larger of the two."""
  gap = np.hypot(*(a_JD[:, :2] - b_JD[:, :2]).T).mean()
  return float(gap / max(_size(a_JD), _size(b_JD), 1e-6))


def _without_doubles(people: list[np.ndarray]) -> list[int]:
  """Indices of the people, each once: detectors report some twice."""
  kept: list[int] = []
  for i, person in enumerate(people):
    if all(_distance(person, people[j]) > _SAME_PERSON for j in kept):
      kept.append(i)
  return kept


def _cost(track: _Track, person_JD: np.ndarray, time_s: float) -> float:
  """Distance between a track and a person; inf if it cannot be them."""
  lost_s = time_s - track.last_s
  sizes = sorted((_size(track.last_JD), _size(person_JD)))
  if sizes[1] > _MAX_SIZE_RATIO * sizes[0]:
    return np.inf
  distance = _distance(track.last_JD, person_JD)
  is_near = distance <= _MAX_STEP + _MAX_STEP_HZ * lost_s
  return distance if is_near else np.inf


def _extend(
  tracks: list[_Track], people: list[np.ndarray], frame: int, time_s: float
) -> None:
  """Give each person to the nearest free track, nearest pair first."""
  open_people = _without_doubles(people)
  costs = sorted(
    (_cost(track, people[i], time_s), n, i)
    for n, track in enumerate(tracks)
    for i in open_people
  )
  for cost, n, i in costs:
    if cost < np.inf and i in open_people and frame not in tracks[n].picks:
      track = tracks[n]
      track.last_JD, track.last_s = people[i], time_s
      track.picks[frame] = i
      track.total_size += _size(people[i])
      open_people.remove(i)
  for i in open_people:
    tracks.append(_Track(people[i], time_s, {frame: i}, _size(people[i])))


def _sightings(tracks: list[_Track], frame_s: float) -> list[_Track]:
  """The best track, and those in whose span no better one is seen.

  A person who was out of sight for long, or is shown in close-up after a cut,
  comes back as another track.
  """
  best, *others = sorted(tracks, key=lambda t: t.total_size, reverse=True)
  kept = [best]
  min_size = _MIN_SIGHTING_SIZE * best.total_size / len(best.picks)
  for track in others:
    num = len(track.picks)
    is_real = (
      num * frame_s >= _MIN_SIGHTING_S and track.total_size >= min_size * num
    )
    if is_real and not any(_overlap(track, other) for other in kept):
      kept.append(track)
  return kept


def _overlap(a: _Track, b: _Track) -> bool:
  """Tell whether one begins before the other, begun earlier, has ended."""
  return max(min(a.picks), min(b.picks)) <= min(max(a.picks), max(b.picks))


def follow_dancer(
  people_F: list[list[np.ndarray]], time_F: np.ndarray
) -> tuple[list[int | None], int]:
  """Follow the largest and steadiest person.

  Landmarks of one frame go to the track whose last landmarks are nearest;
  the track with the largest sum of sizes over its frames wins. It ends where
  the person is out of sight for MAX_LOST_S or changes size at once. The time
  before and after it is filled with the next largest tracks that lie wholly
  there, last for _MIN_SIGHTING_S and are not tiny: mostly the same person.

  Args:
    people_F: per frame, the (J, 3) landmarks of everybody seen in it, in
      units in which x and y are equally long.
    time_F: the time of each frame, in seconds.

  Returns:
    Per frame the index of the dancer in people_F[f], or None; and the number
    of people that were around for long enough to be counted, where all that
    was followed counts as one.
  """
  tracks: list[_Track] = []
  for frame, (people, time_s) in enumerate(zip(people_F, time_F)):
    alive = [t for t in tracks if time_s - t.last_s <= MAX_LOST_S]
    num_alive = len(alive)
    _extend(alive, people, frame, float(time_s))
    tracks += alive[num_alive:]
  if not tracks:
    return [None] * len(people_F), 0
  frame_s = float(np.ptp(time_F)) / max(1, len(time_F) - 1)
  kept = _sightings(tracks, frame_s)
  picks: dict[int, int] = {}
  for track in kept:
    picks |= track.picks
  longest = max(len(track.picks) for track in tracks)
  num_others = sum(
    len(track.picks) >= _MIN_SHARE * longest
    for track in tracks
    if track not in kept
  )
  return [picks.get(frame) for frame in range(len(people_F))], 1 + num_others
