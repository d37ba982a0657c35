"""Everything in a minute: a very small model on a very small dataset.

    python -m dance2wave.main --config=configs/debug.py

2 cores. It learns next to nothing: its use is to run every stage.
"""

from configs import wavenet


def get_config(dataset='synthetic_dance/debug'):
  config = wavenet.get_config(dataset)
  config.unlock()
  config.pose_rate_hz = 25
  config.dataset.crop_s = 2.0

  config.pose.width = 16
  config.pose.num_heads = 2
  config.pose.num_blocks = 1
  config.pose.stem_dilations = (1,)
  config.pose.top_dilations = (1,)
  config.pose.kernel = 3
  config.pose.window_s = 1.0
  config.pose.look_ahead_s = 1.0

  config.wave.num_cycles = 1
  config.wave.layers_per_cycle = 4
  config.wave.residual = 8
  config.wave.gate = 8
  config.wave.skip = 16

  config.train.pose_steps = 10
  config.train.joint_steps = 10
  config.train.batch_size = 4
  config.train.audio_crop_s = 0.2
  config.train.warmup_steps = 2
  config.train.log_every = 1
  config.train.eval_every = 10
  config.train.eval_batches = 1
  config.train.save_every = 10

  config.sample.num_clips = 4
  config.sample.num_videos = 1
  return config.lock()
