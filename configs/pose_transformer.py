"""The pose transformer alone: beats, onsets, audio features and style.

    python -m dance2wave.main --config=configs/pose_transformer.py
    python -m dance2wave.main --config=configs/pose_transformer.py:dancing2music

For data without waveforms; a clip counts for what is known of it. wavenet.py
starts from the result:

    python -m dance2wave.main --config=configs/wavenet.py \
        --config.train.init_from="('runs/pose_transformer',)"

2 cores, no accelerator; the README gives time and result.
"""

from configs import wavenet


def get_config(dataset='synthetic_dance'):
  config = wavenet.get_config(dataset)
  config.unlock()
  config.pose.describes = ('style', 'audio_features')
  config.train.pose_steps = 1200
  config.train.joint_steps = 0
  return config.lock()
