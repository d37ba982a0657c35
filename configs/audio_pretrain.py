"""The WaveNet alone, on music without dances, told the tags of each clip.

    python -m dance2wave.main --config=configs/audio_pretrain.py \
        --config.dataset.manual_dir=MAGNATAGATUNE

wavenet.py starts from the result:

    python -m dance2wave.main --config=configs/wavenet.py \
        --config.train.init_from="('runs/audio_pretrain',)"

Sizes and sample rate are those of wavenet.py. 2 cores, no accelerator; for
MagnaTagATune in earnest take an accelerator and more steps.
"""

from configs import wavenet

# The 50 most frequent tags, in the standard order; a test holds them equal to
# those of dance2wave/datasets/magnatagatune/tags.py.
_WORDS = (
  'guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,'
  'ambient,beat,violin,vocal,synth,female,indian,opera,male,singing,vocals,'
  'no vocals,harpsichord,loud,quiet,flute,woman,male vocal,no vocal,pop,soft,'
  'sitar,solo,man,classic,choir,voice,new age,dance,male voice,female vocal,'
  'beats,harp,cello,no voice,weird,country,female voice,metal,choral'
)
TAGS = tuple(_WORDS.split(','))


def get_config(dataset='magnatagatune'):
  config = wavenet.get_config(dataset)
  config.unlock()
  config.styles = TAGS
  config.dataset.crop_s = 2.0
  config.dataset.is_augmented = False
  config.train.is_audio_only = True
  config.train.pose_steps = 0
  config.train.joint_steps = 1000
  return config.lock()
