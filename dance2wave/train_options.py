"""The options under `train`: how a model is trained."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TrainOptions:
  """How training goes.

  Attributes:
    pose_steps: steps of the pose transformer alone on its heads, first.
    joint_steps: steps of everything together, after them.
    batch_size: clips in a step, over all processes.
    audio_crop_s: length of the waveform in a joint step, within the crop.
    optimizer: 'muon' for matrices and Adam for the rest, or 'adam' for all.
    learning_rate: peak of the first stage.
    joint_learning_rate: peak of the second.
    warmup_steps: of each stage.
    weight_decay: on kernels.
    clip_norm: of the gradients.
    ema_decay: of the averaged weights, which are what is sampled.
    past_noise: the WaveNet is given a past with noise of up to this standard
      deviation on the mu-law scale, so that it leans on the context.
    past_gain_db: it is given a past that is up to so much louder or softer.
    past_dropout: up to so large a share of the samples of its past are zero.
    time_jitter: share of frames at which it is given context and bands of the
      frame before or after, so that it cannot lean on them to the frame.
    self_fed: share of its past that it has drawn itself; it grows from 0 to
      this over the joint steps, and each of them takes a second pass.
    context_dropout: share of clips whose WaveNet is given no context.
    style_dropout: share of clips whose WaveNet is not told the style.
    true_bands: share of clips whose WaveNet is told the levels of bands that
      the sound has, and not those that `Timbre` says.
    control_dropout: share of clips whose tempo is not told, and of those whose
      energy is not.
    heads_weight: of the heads' loss in joint steps.
    infonce_weight: of telling a dance's sound from the same clip's sound a
      little earlier or later and from other clips'; 0 does without.
    beat_contrast_weight: of contexts that differ where the motion turns and
      are alike elsewhere; 0 does without.
    is_audio_only: whether joint steps train the WaveNet alone, with a clip's
      labels and without its dance.
    init_from: workdirs of finished runs whose trained parameters this one
      starts from.
    compute_dtype: 'float32' or 'bfloat16'; parameters stay float32.
    accumulate: parts in which a batch is taken, one after another, to save
      memory; the result is the same but for rounding.
    remat: keep only the inputs of layers for the gradients, and of the
      WaveNet those of a cycle of its dilations, to save memory.
    scan: compile one cycle of the WaveNet's dilations and go through it for
      each, rather than all layers.
    log_every: steps between lines of metrics.
    eval_every: steps between held-out likelihoods.
    eval_batches: batches of each.
    save_every: steps between checkpoints.
    max_to_keep: checkpoints.
    max_skipped: steps in a row that may be skipped for a NaN or an infinity
      before the run stops.
  """

  pose_steps: int
  joint_steps: int
  batch_size: int
  audio_crop_s: float
  optimizer: str
  learning_rate: float
  joint_learning_rate: float
  warmup_steps: int
  weight_decay: float
  clip_norm: float
  ema_decay: float
  past_noise: float
  past_gain_db: float
  context_dropout: float
  style_dropout: float
  heads_weight: float
  is_audio_only: bool
  init_from: tuple[str, ...]
  compute_dtype: str
  log_every: int
  eval_every: int
  eval_batches: int
  save_every: int
  max_to_keep: int
  max_skipped: int = 10
  true_bands: float = 0.5
  control_dropout: float = 0.5
  accumulate: int = 1
  remat: bool = False
  scan: bool = False
  infonce_weight: float = 0.0
  beat_contrast_weight: float = 0.0
  past_dropout: float = 0.0
  time_jitter: float = 0.0
  self_fed: float = 0.0

  @property
  def num_steps(self) -> int:
    """Steps of both stages."""
    return self.pose_steps + self.joint_steps
