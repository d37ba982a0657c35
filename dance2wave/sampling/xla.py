"""The engine that runs everywhere: loops over frames and samples, by XLA."""

import dataclasses
import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.quantise import bent_of_codes, unbend
from dance2wave.sampling.draw import draw_class, draw_mixture
from dance2wave.sampling.listen import (
  BLOCK_FRAMES,
  MIN_CLIPS,
  in_company,
  pad_to_block,
)
from dance2wave.sampling.weights import rounded


@dataclasses.dataclass(frozen=True)
class Draw:
  """How samples are drawn.

  Attributes:
    temperature: divides the logits; below 1 is calmer.
    top_p: mass of the most probable classes that are kept; 1 keeps all.
    guidance: weight of the conditional against the unconditional outputs;
      1 uses the conditional alone.
    style_strength: of a style that is asked for; see
      `WaveNet.condition_on_style`.
    levels: mu-law levels of the output.
    is_mixture: whether the outputs are a mixture of logistics.
    weights: what the matrices are rounded to, 'float32' or 'int8'.
  """

  temperature: float = 1.0
  top_p: float = 1.0
  guidance: float = 1.0
  style_strength: float = 1.0
  levels: int = 256
  is_mixture: bool = False
  weights: str = 'float32'


def _start(graphdef, params, batch, draw):
  wave = nnx.merge(graphdef, params).wave
  rows = batch * (1 if draw.guidance == 1.0 else 2)
  return {'wave': wave.start(rows), 'bent': jnp.zeros(batch)}


def _one_sample(wave, taps, draw, carry, inputs):
  """Advance by one sample; the carry is the engine's state."""
  condition, uniform = inputs
  bent = carry['bent']
  guided = draw.guidance != 1.0
  past = jnp.concatenate([bent, bent]) if guided else bent
  outputs, state = wave.step(past, condition, taps, carry['wave'])
  if guided:
    right, without = jnp.split(outputs, 2)
    outputs = without + draw.guidance * (right - without)
    if draw.is_mixture:
      # Scales beyond both models' own would only add noise.
      scales = right[:, 2 * right.shape[1] // 3 :]
      outputs = outputs.at[:, -scales.shape[1] :].set(scales)
  options = {'temperature': draw.temperature, 'top_p': draw.top_p}
  if draw.is_mixture:
    bent = draw_mixture(outputs, uniform, **options)
  else:
    code = draw_class(outputs, uniform, **options)
    bent = bent_of_codes(code, draw.levels)
  return {'wave': state, 'bent': bent}, bent


def _one_frame(wave, taps, draw, conditions, uniform_SB2, state):
  """Draw a frame's samples (B, S), given conditions (B, L, 2 G) around it."""
  now, then = conditions
  weight = jnp.arange(wave.samples_per_frame) / wave.samples_per_frame

  def one_sample(carry, inputs):
    w, uniform = inputs
    condition = now + (then - now) * w
    return _one_sample(wave, taps, draw, carry, (condition, uniform))

  state, bent_SB = jax.lax.scan(one_sample, state, (weight, uniform_SB2))
  # unbend rounds: full scale comes out a few ulp above one.
  return jnp.clip(unbend(bent_SB.T, draw.levels), -1.0, 1.0), state


def _run(
  graphdef, params, context_BFC, style_B, uniform_FSB2, count, state, draw
):
  wave = nnx.merge(graphdef, params).wave
  taps = wave.split_taps()
  if draw.guidance != 1.0:
    context_BFC = jnp.concatenate([context_BFC, jnp.zeros_like(context_BFC)])
    style_B = jnp.concatenate([style_B, jnp.full_like(style_B, -1)])

  def condition(frame):
    context = jax.lax.dynamic_slice_in_dim(context_BFC, frame, 1, 1)
    strength = draw.style_strength
    return wave.condition_on_style(context, style_B, strength)[:, 0]

  def body(frame, carry):
    state, now, samples_FBS = carry
    then, uniform = condition(frame + 1), uniform_FSB2[frame]
    samples, state = _one_frame(wave, taps, draw, (now, then), uniform, state)
    return state, then, samples_FBS.at[frame].set(samples)

  frames, hop, batch, _ = uniform_FSB2.shape
  blank = jnp.zeros((frames, batch, hop))
  state, _, samples_FBS = jax.lax.fori_loop(
    0, count, body, (state, condition(0), blank)
  )
  return jnp.moveaxis(samples_FBS, 0, 1).reshape(batch, -1), state


def blocks(context_BFC, uniform_FSB2):
  """Cut a call into blocks of one size: context, draws, number of frames."""
  frames = len(uniform_FSB2)
  for first in range(0, frames, BLOCK_FRAMES):
    last = min(first + BLOCK_FRAMES, frames)
    context = pad_to_block(
      context_BFC[:, first : last + 1], 1, BLOCK_FRAMES + 1
    )
    uniform = pad_to_block(uniform_FSB2[first:last], 0)
    yield context, uniform, last - first


class XlaEngine:
  """Draw samples by `lax.scan`; streaming, batched and resumable.

  Args:
    graphdef: of a `Dance2Wave`.
    params: its parameters.
    draw: how samples are drawn.
  """

  name, team = 'xla', 1

  def __init__(self, graphdef, params, draw):
    params = rounded(params, draw.weights)
    self.params, self._draw, self._graphdef = params, draw, graphdef
    self._hop = nnx.merge(graphdef, params).wave.samples_per_frame
    self._run = jax.jit(
      functools.partial(_run, graphdef, draw=draw), donate_argnames='state'
    )
    self._compiled, self._lock = {}, threading.Lock()

  def start(self, batch, cores=1):
    """Return the state before the first sample of `batch` clips.

    `cores` are for the `cpu` engine to use; this one does as it likes.
    """
    rows = max(batch, MIN_CLIPS)
    return _start(self._graphdef, self.params, rows, self._draw)

  def run(self, context_BFC, style_B, uniform_FSB2, state):
    """Return samples (B, (F - 1) x hop) in [-1, 1], and the state to go on.

    A frame's samples are the same to the last bit in whatever pieces a clip
    is drawn.

    Args:
      context_BFC: frames f .. f + n; the last one only closes the
        interpolation and comes again as the first of the next call.
      style_B: (B,) style index, -1 where it is not said.
      uniform_FSB2: from `draw_uniform` for frames f .. f + n - 1.
      state: from `start` or from an earlier call; used up.
    """
    parts, batch = [], len(context_BFC)
    context_BFC, style_B = (in_company(x, 0) for x in (context_BFC, style_B))
    uniform_FSB2 = in_company(uniform_FSB2, 2)
    for part, uniform, count in blocks(context_BFC, uniform_FSB2):
      samples, state = self._run_block(
        self.params, part, style_B, uniform, count, state
      )
      parts.append(samples[:batch, : count * self._hop])
    return jnp.concatenate(parts, axis=1), state

  def fork(self, state, row_B):
    """Return the state in which clip b goes on from where clip row_B[b] is.

    Args:
      state: from `start` or from `run`; it stays as it is.
      row_B: (B,) int of numpy.
    """
    batch = len(state['bent'])
    row_B = np.concatenate([row_B, np.arange(len(row_B), batch)])
    rings = state['wave']['rings']
    rows = [row_B + first for first in range(0, rings.shape[1], batch)]
    wave = {
      'rings': rings[:, np.concatenate(rows)],
      'sample': jnp.copy(state['wave']['sample']),
    }
    return {'wave': wave, 'bent': state['bent'][row_B]}

  def _run_block(self, *arguments):
    batch = arguments[1].shape[0]
    with self._lock:
      if batch not in self._compiled:
        self._compiled[batch] = self._run.lower(*arguments).compile()
    return self._compiled[batch](*arguments)

  def draw_uniform(self, keys_B, first_frame, num_frames):
    """Draw what decides samples: (F, S, B, 2) for each clip's own key.

    A clip's draws depend on its key and the frame alone, so that neither
    its neighbours in the batch nor the pieces that it is drawn in matter.
    """
    return draw_uniform(keys_B, first_frame, num_frames, self._hop)


@functools.partial(jax.jit, static_argnums=(2, 3))
def draw_uniform(keys_B, first_frame, num_frames, hop):
  """Draw (F, S, B, 2) for each clip's own key and S = hop samples a frame."""

  def one_clip(key):
    frames = first_frame + jnp.arange(num_frames)
    keys = jax.vmap(lambda frame: jax.random.fold_in(key, frame))(frames)
    return jax.vmap(lambda k: jax.random.uniform(k, (hop, 2)))(keys)

  return jax.vmap(one_clip, out_axes=2)(keys_B)
