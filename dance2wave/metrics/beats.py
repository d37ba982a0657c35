"""Beat agreement of estimated and true beats, and what chance would score.

F is `mir_eval.beat.f_measure` without trimming: one-to-one matches within a
tolerance, over all beats of a clip. The tolerances are 70 ms (the field's) and
35 ms. Shuffled pairs say how much of a score any other clip would get.
"""

from collections.abc import Sequence

import numpy as np

from dance2wave.errors import InputError
from dance2wave.metrics.librosa_loading import load_librosa

TOLERANCES_S = {'beat_f70': 0.070, 'beat_f35': 0.035}

_LIBROSA_RATE_HZ = 22050


def _f_measure(reference_s, estimate_s, tolerance_s: float) -> float:
  """Return F of one pair of sorted beat times; 0 where either is empty."""
  import mir_eval

  if not len(reference_s) or not len(estimate_s):
    return 0.0
  return float(
    mir_eval.beat.f_measure(
      reference_s, estimate_s, f_measure_threshold=tolerance_s
    )
  )


def _mean_f(estimates, references, ends_s) -> dict[str, float]:
  """Average F over pairs, both cut to their end."""
  pairs = [
    (reference_s[reference_s < end_s], estimate_s[estimate_s < end_s])
    for estimate_s, reference_s, end_s in zip(estimates, references, ends_s)
  ]
  return {
    key: float(np.mean([_f_measure(*pair, tolerance_s) for pair in pairs]))
    for key, tolerance_s in TOLERANCES_S.items()
  }


def _derangement(rng: np.random.Generator, num: int) -> np.ndarray:
  """Draw a permutation that leaves nothing in its place; `num` > 1."""
  while True:
    order = rng.permutation(num)
    if (order != np.arange(num)).all():
      return order


def beat_scores(
  estimates: Sequence[np.ndarray],
  references: Sequence[np.ndarray],
  durations_s: Sequence[float],
  *,
  groups: Sequence[str] | None = None,
  num_derangements: int = 20,
  seed: int = 0,
) -> dict[str, float]:
  """Score the beats of each clip against its own and against other references.

  Args:
    estimates: beat times in seconds, one array per clip; may be empty.
    references: the true ones.
    durations_s: length of each clip. A shuffled pair is cut to the shorter.
    groups: video, song or performance of each clip; None is one for each.
    num_derangements: how many times to shuffle; no clip meets its own group.
    seed: of the shuffles.

  Returns:
    beat_f70 and beat_f35, means over clips, and both with suffix '_shuffled',
    means over clips and derangements; NaN for a single group, which has no
    other to be compared with.

  Raises:
    InputError: no clips, or the three sequences differ in length.
  """
  num = len(references)
  if not num or len(estimates) != num or len(durations_s) != num:
    raise InputError(
      f'{len(estimates)} estimates, {num} references and {len(durations_s)} '
      'durations; expected the same number, at least 1; pass one of each per '
      'clip'
    )
  estimates = [np.sort(np.asarray(beats_s, float)) for beats_s in estimates]
  references = [np.sort(np.asarray(beats_s, float)) for beats_s in references]
  ends_s = np.asarray(durations_s, float)
  scores = _mean_f(estimates, references, ends_s)
  rng, rounds = np.random.default_rng(seed), []
  for _ in range(num_derangements if num > 1 else 0):
    pairs = list(enumerate(_derangement(rng, num)))
    if groups is not None:
      pairs = [(i, j) for i, j in pairs if groups[i] != groups[j]]
    if not pairs:
      continue
    mine, other = map(list, zip(*pairs))
    rounds.append(
      _mean_f(
        [estimates[i] for i in mine],
        [references[j] for j in other],
        np.minimum(ends_s[mine], ends_s[other]),
      )
    )
  for key in TOLERANCES_S:
    values = [scores_of_round[key] for scores_of_round in rounds]
    scores[f'{key}_shuffled'] = float(np.mean(values)) if values else np.nan
  return scores


def tempo_within(
  estimate_s: np.ndarray, reference_s: np.ndarray, tolerance: float = 0.04
) -> bool:
  """Return whether the tempi agree within a share of the reference.

  The tempo is that of the median interval; fewer than two beats have none and
  agree with nothing.
  """
  if len(estimate_s) < 2 or len(reference_s) < 2:
    return False
  ratio = np.median(np.diff(reference_s)) / np.median(np.diff(estimate_s))
  return bool(abs(ratio - 1) <= tolerance)


def librosa_beats(waveform_T: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Return the beats that librosa's tracker finds, in seconds: a witness.

  The sound is brought to 22,050 Hz, for which librosa's frames are meant.
  """
  librosa = load_librosa()

  waveform_T = np.asarray(waveform_T, np.float32)
  if not waveform_T.any():
    return np.zeros(0)
  resampled_T = librosa.resample(
    waveform_T,
    orig_sr=sample_rate_hz,
    target_sr=_LIBROSA_RATE_HZ,
    res_type='polyphase',
  )
  _, beats_s = librosa.beat.beat_track(
    y=resampled_T, sr=_LIBROSA_RATE_HZ, units='time'
  )
  return np.asarray(beats_s, float)
