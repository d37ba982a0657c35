"""What devices send each other in a step: read, and by a rule.

The compiler's own collectives are read from its program. That of processors
makes no reduce-scatter: it sums whole gradients on all devices and cuts the
part that is wanted. For GPU and TPU the rule below stands instead.
"""

import collections
import math
import re

import jax

from dance2wave.training.state import leaf_name

_BYTES = {
  'pred': 1,
  **dict.fromkeys(('s8', 'u8'), 1),
  **dict.fromkeys(('bf16', 'f16', 's16', 'u16'), 2),
  **dict.fromkeys(('f32', 's32', 'u32'), 4),
  **dict.fromkeys(('f64', 's64', 'u64'), 8),
}
KINDS = (
  'all-gather',
  'all-reduce',
  'all-to-all',
  'collective-permute',
  'reduce-scatter',
)
_CALL = re.compile(rf' = (.*?) ({"|".join(KINDS)})(-start)?\(')
_HEAD = re.compile(r'^(?:ENTRY )?%?([\w.-]+) \(.*\{$')
_WHILE = re.compile(r' while\(.*body=%?([\w.-]+)')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
# What of a model is called with time split; see `sequence.OverTime`.
_IN_TIME = re.compile(
  r'wave/(embed|taps|taps_bias|residual|skip|hidden|logits)\b'
)
_CALLED = re.compile(r'(?:calls|to_apply|body|condition)=%?([\w.-]+)')


def read(program: str) -> dict[str, tuple[int, int]]:
  """Return {kind: (how many, bytes of their results)} of a step of a device.

  Those in a loop count as often as it goes round.

  Args:
    program: optimised HLO, as `compiled.as_text()` gives it.
  """
  bodies = _computations(program)
  found = collections.defaultdict(lambda: [0, 0])
  for name, times in _runs(bodies).items():
    for line in bodies[name]:
      call = _CALL.search(line)
      if call:
        found[call[2]][0] += times
        found[call[2]][1] += times * _size(call[1], bool(call[3]))
  return {kind: tuple(found[kind]) for kind in KINDS if kind in found}


def _computations(program) -> dict[str, list[str]]:
  """Split a program into computations; the entry's name is ''."""
  bodies, lines = {}, []
  for line in program.splitlines():
    head = _HEAD.match(line)
    if head:
      lines = bodies['' if line.startswith('ENTRY') else head[1]] = []
    else:
      lines.append(line)
  return bodies


def _runs(bodies) -> collections.Counter:
  """Return how often each computation runs in one step."""
  runs, waiting = collections.Counter(), [('', 1)]
  while waiting:
    name, times = waiting.pop()
    runs[name] += times
    for line in bodies[name]:
      loop, trips = _WHILE.search(line), _TRIPS.search(line)
      for called in _CALLED.findall(line):
        is_body = loop and called == loop[1]
        more = int(trips[1]) if is_body and trips else 1
        if called in bodies:
          waiting.append((called, times * more))
  return runs


def _size(result: str, is_start: bool) -> int:
  """Return the bytes of a result such as '(f32[2,3]{1,0}, f32[])'."""
  arrays = re.findall(r'(\w+)\[([\d,]*)\]', result)
  sizes = [
    _BYTES[dtype] * math.prod(int(n) for n in shape.split(',') if n)
    for dtype, shape in arrays
    if dtype in _BYTES
  ]
  # What has only been started returns its operand beside its result.
  return max(sizes, default=0) if is_start else sum(sizes)


def by_rule(params, mesh) -> dict[str, float]:
  """Return the bytes that a device sends in a step on GPU or TPU, by kind.

  In rings, of float32 parameters: what is split over fsdp is gathered for
  the way forward and for the way back, and once more for Muon; its gradients
  are scattered over fsdp, and the parts summed over data. All other gradients
  are summed over both. Those of the WaveNet's layers, of which each device of
  `sequence` has seen a part of the time, are summed over that as well. A ring
  of n sends (n - 1) / n of the bytes that are gathered or scattered, and twice
  that of those that are summed.

  What `tensor` and `sequence` send within a clip grows with the clips and is
  not in it.

  Args:
    params: with shardings.
    mesh: that they are on.
  """
  sent = collections.Counter()
  fsdp = mesh.shape['fsdp']
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    is_in_time = _IN_TIME.match(leaf_name(path))
    copies = mesh.shape['data'] * (mesh.shape['sequence'] if is_in_time else 1)
    spec, parts = leaf.sharding.spec, leaf.sharding.shard_shape(leaf.shape)
    mine = leaf.dtype.itemsize * math.prod(parts)
    is_split = any('fsdp' in (axes or ()) for axes in spec)
    if is_split:
      sent['all-gather'] += 3 * (fsdp - 1) * mine
      sent['reduce-scatter'] += (fsdp - 1) * mine
      sent['all-reduce'] += 2 * (copies - 1) / copies * mine
    else:
      ways = copies * fsdp
      sent['all-reduce'] += 2 * (ways - 1) / ways * mine
  return dict(sent)
