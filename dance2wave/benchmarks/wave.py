"""Cases of the WaveNet: sampling by every engine, and training."""

import functools
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.benchmarks import plain
from dance2wave.benchmarks.rounds import Case
from dance2wave.models.wavenet import WaveNet
from dance2wave.sampling import offline
from dance2wave.sampling.engines import make_engine
from dance2wave.sampling.xla import Draw
from dance2wave.training.losses import wave_nll

MATMUL, READ = 'ceiling: matrix product, XLA', 'ceiling: reading the weights'
RATE_HZ = 16000
_CONTEXT = 80
# 'wn30' is the reference of this project's figures: 30 layers at 16 kHz.
SIZES = {
  'wn30': {
    'dilations': tuple(2**i for i in range(10)) * 3,
    'residual': 64,
    'gate': 64,
    'skip': 256,
    'samples_per_frame': 320,
  },
  'debug': {
    'dilations': (1, 2, 4, 8),
    'residual': 8,
    'gate': 8,
    'skip': 16,
    'samples_per_frame': 40,
  },
}


class _Model(nnx.Module):
  """The part of `Dance2Wave` that engines use."""

  def __init__(self, **sizes):
    self.wave = WaveNet(**sizes)


class Bench:
  """A WaveNet with random weights, and what is asked of it.

  Attributes:
    graphdef: of the model.
    params: its parameters.
    hop: samples in a frame.
    products: multiply-adds for a sample, context left out.
    read_bytes: weights that a sample reads.
  """

  def __init__(self, name: str):
    model = _Model(
      context_dim=_CONTEXT,
      num_styles=1,
      kernel=2,
      num_outputs=256,
      rngs=nnx.Rngs(0),
      **SIZES[name],
    )
    self.graphdef, state = nnx.split(model)
    self.params = nnx.to_pure_dict(state)
    self.hop = model.wave.samples_per_frame
    wave = self.params['wave']
    used = (wave['taps'], wave['residual'], wave['skip']['kernel'])
    used += (wave['hidden']['kernel'], wave['logits']['kernel'])
    self.products = sum(weights.size for weights in used)
    self.read_bytes = 4 * self.products

  def context(self, batch: int, frames: int) -> np.ndarray:
    """Return random context (B, F + 1, C)."""
    rng = np.random.default_rng(0)
    shape = batch, frames + 1, _CONTEXT
    return rng.normal(size=shape).astype(np.float32)

  def uniform(self, batch: int, frames: int) -> np.ndarray:
    """Return draws (F, S, B, 2)."""
    rng = np.random.default_rng(1)
    return rng.random((frames, self.hop, batch, 2), np.float32)


def merged(graphdef, params) -> WaveNet:
  """Return the WaveNet with these parameters."""
  return nnx.merge(graphdef, params).wave


def draw(bench: Bench, engine, batch: int, frames: int) -> np.ndarray:
  """Draw samples (B, F x hop) with an engine, from silence on.

  Clips are spread over processor cores as `Generator` does.
  """
  context, uniform = bench.context(batch, frames), bench.uniform(batch, frames)

  def one_group(group):
    size = len(context[group])
    audio_BT, _ = engine.run(
      context[group],
      np.full(size, -1, np.int32),
      uniform[:, :, group],
      engine.start(size, each),
    )
    return np.asarray(audio_BT)

  groups, each = offline.groups_of(batch, 1, engine)
  with futures.ThreadPoolExecutor(len(groups)) as threads:
    return np.concatenate(list(threads.map(one_group, groups)))


def sampling(bench: Bench, batches, frames: int) -> list[Case]:
  """Return cases of every engine and of the plain loop for each batch.

  Args:
    bench: the model.
    batches: clips at once.
    frames: of 8 clips or more; fewer are drawn longer.
  """
  wanted = {'cpu': 'float32', 'cpu int8': 'int8', 'xla': 'float32'}
  if jax.default_backend() == 'gpu':
    wanted['gpu'] = 'float32'
  engines = {
    label: make_engine(
      label.split()[0], bench.graphdef, bench.params, Draw(weights=weights)
    )
    for label, weights in wanted.items()
  }
  cases = []
  for batch in batches:
    base = f'sampling: plain loop, batch {batch}'
    count = frames * max(1, 8 // batch)
    work = batch * count * bench.hop
    few = max(64 // batch, 16)
    run = functools.partial(plain.draw, bench, batch, few)
    cases.append(Case(base, 'samples', batch * few, run))
    for name, engine in engines.items():
      bound, needs = _bound(bench, engine, batch, wanted[name])
      run = functools.partial(draw, bench, engine, batch, count)
      label = f'sampling: {name}, batch {batch}'
      cases.append(Case(label, 'samples', work, run, base, bound, needs))
  return cases


def _bound(bench, engine, batch, weights):
  """Return which ceiling bounds an engine, and what a sample needs of it.

  Weights are read on the processor and matrices multiplied where JAX runs:
  an engine that draws elsewhere has no ceiling.
  """
  reads = batch == 1 and weights == 'float32'
  is_beside = jax.default_backend() != 'cpu'
  if is_beside and reads != (engine.name == 'cpu'):
    return '', 0.0
  return (READ, bench.read_bytes) if reads else (MATMUL, bench.products)


def lengths(bench: Bench, seconds) -> list[Case]:
  """Return cases of clips of several lengths, whose cost should be linear."""
  engine = make_engine('auto', bench.graphdef, bench.params, Draw())
  cases = []
  for length_s in seconds:
    frames = max(1, round(length_s * RATE_HZ / bench.hop))
    run = functools.partial(draw, bench, engine, 1, frames)
    name = f'length: {engine.name}, {length_s:g} s'
    cases.append(Case(name, 'samples', frames * bench.hop, run))
  return cases


def training(bench: Bench, batches, frames: int) -> list[Case]:
  """Return cases of loss and gradients, and of plain convolutions."""
  cases = []
  for batch in batches:
    context = bench.context(batch, frames)
    audio = 2 * bench.uniform(batch, frames)[..., 0] - 1
    audio = np.moveaxis(audio, 2, 0).reshape(batch, -1)
    base, work = f'training: plain convolutions, batch {batch}', audio.size
    for name, formed, baseline in (
      (base, plain.outputs, ''),
      (f'training: ours, batch {batch}', outputs, base),
    ):
      step = jax.jit(jax.grad(functools.partial(_loss, bench, formed)))
      run = functools.partial(_wait, step, bench.params, context, audio)
      # Forward, and twice as much backward.
      needs = 3 * bench.products
      cases.append(Case(name, 'samples', work, run, baseline, MATMUL, needs))
  return cases


def _wait(function, *arguments):
  return jax.block_until_ready(function(*arguments))


def outputs(wave, past_BT, context_BFC):
  """Return what the model puts out (B, T, O)."""
  label_BS = jnp.zeros((len(past_BT), wave.num_labels))
  return wave(past_BT, wave.condition(context_BFC, label_BS))


def _loss(bench, formed, params, context_BFC, audio_BT):
  wave = merged(bench.graphdef, params)
  past_BT = jnp.pad(audio_BT, ((0, 0), (1, 0)))[:, :-1]
  mask = jnp.ones_like(audio_BT)
  logits = formed(wave, past_BT, context_BFC)
  return wave_nll(logits, audio_BT, mask, levels=256, is_mixture=False)
