r"""16 kHz, 30 layers: for accelerators.

    python -m dance2wave.main --config=configs/wavenet_large.py \
        --config.mesh.data=8

The layer shape is that of the WaveNet vocoders in use: 3 cycles of dilations
1 to 512, kernel 2, residual 64, gate 2 x 64, skip 256. Not trained here: it is
shape-checked, sharded and counted in tests.
"""

from configs import wavenet


def get_config(dataset='synthetic_dance'):
  config = wavenet.get_config(dataset)
  config.unlock()
  config.sample_rate_hz = 16000

  config.pose.width = 256
  config.pose.num_heads = 8
  config.pose.num_blocks = 4
  config.pose.dropout = 0.1

  config.wave.num_cycles = 3
  config.wave.layers_per_cycle = 10
  config.wave.residual = 64
  config.wave.gate = 64
  config.wave.skip = 256
  config.wave.num_bands = 24

  config.train.pose_steps = 5000
  config.train.joint_steps = 100_000
  config.train.batch_size = 64
  config.train.audio_crop_s = 1.0
  config.train.learning_rate = 1e-3
  config.train.joint_learning_rate = 1e-3
  config.train.warmup_steps = 500
  config.train.ema_decay = 0.999
  config.train.context_dropout = 0.1
  config.train.compute_dtype = 'bfloat16'
  config.train.log_every = 100
  config.train.eval_every = 2000
  config.train.save_every = 2000
  # To be measured on the validation split.
  config.sample.style_strength = 1.0
  config.sample.loudness_range = 1.0
  config.sample.lead_s = 0.0
  return config.lock()
