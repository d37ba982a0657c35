import json
import pathlib
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX import record_writer
from tensorboardX.proto.event_pb2 import Event

from dance2wave.training.writer import MetricWriter


def read_lines(workdir):
  text = (workdir / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def read_events(workdir):
  """Parse TensorBoard's files: length, checksum, event, checksum."""
  events = []
  for path in sorted((workdir / 'tensorboard').iterdir()):
    data = path.read_bytes()
    while data:
      (length,) = struct.unpack('<Q', data[:8])
      events.append(Event.FromString(data[12 : 12 + length]))
      data = data[16 + length :]
  return events


def test_scalars_of_all_kinds_become_json_numbers_at_once(tmp_path):
  with MetricWriter(tmp_path / 'new' / 'run') as writer:
    writer.write_scalars(
      np.int64(3),
      {
        'python': 1.5,
        'integer': 7,
        'numpy': np.float32(0.1),
        'jax': jnp.float32(0.1),
        'half': jnp.bfloat16(0.5),
        'count': jax.device_put(jnp.int32(9)),
      },
    )
    # Read before closing: a killed run keeps its lines.
    (line,) = read_lines(tmp_path / 'new' / 'run')
  assert line == {
    'step': 3,
    'python': 1.5,
    'integer': 7,
    'numpy': float(np.float32(0.1)),
    'jax': float(np.float32(0.1)),
    'half': 0.5,
    'count': 9,
  }
  assert type(line['count']) is int
  assert np.float32(line['jax']) == np.float32(0.1)


def test_a_value_that_is_not_finite_keeps_the_line_valid(tmp_path):
  with MetricWriter(tmp_path) as writer:
    writer.write_scalars(1, {'a': float('nan'), 'b': np.inf, 'c': 2.0})
  text = (tmp_path / 'metrics.jsonl').read_text()
  assert text == '{"step": 1, "a": null, "b": null, "c": 2.0}\n'
  tags = [v.tag for e in read_events(tmp_path) for v in e.summary.value]
  assert tags == ['c']


def test_an_array_is_no_metric(tmp_path):
  with (
    MetricWriter(tmp_path) as writer,
    pytest.raises(ValueError, match=r'loss has shape \(2,\)'),
  ):
    writer.write_scalars(1, {'loss': np.ones(2)})
  assert not (tmp_path / 'metrics.jsonl').exists()


def test_a_resumed_run_appends_where_its_checkpoint_was(tmp_path):
  with MetricWriter(tmp_path) as writer:
    for step in (10, 20, 30):
      writer.write_scalars(step, {'loss': 100.0 - step})
      writer.write_scalars(step, {'eval_loss': 1.0})
  with (tmp_path / 'metrics.jsonl').open('a') as torn:
    torn.write('{"step": 40, "lo')
  with MetricWriter(tmp_path) as writer:
    writer.rewind(20)
    writer.write_scalars(30, {'loss': 7.0})
  lines = read_lines(tmp_path)
  assert [line['step'] for line in lines] == [10, 10, 20, 20, 30]
  assert lines[-1] == {'step': 30, 'loss': 7.0}
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    'metrics.jsonl',
    'tensorboard',
  ]
  starts = [e.step for e in read_events(tmp_path) if e.session_log.status == 1]
  assert starts == [21]


def test_rewinding_in_the_middle_and_to_before_the_start(tmp_path):
  with MetricWriter(tmp_path) as writer:
    writer.rewind(0)
    writer.write_scalars(0, {'loss': 1.0})
    writer.write_scalars(5, {'loss': 2.0})
    writer.rewind(0)
    assert [line['step'] for line in read_lines(tmp_path)] == [0]
    writer.write_scalars(5, {'loss': 3.0})
    assert read_lines(tmp_path)[-1]['loss'] == 3.0
    writer.rewind(-1)
    assert read_lines(tmp_path) == []


def test_tensorboard_holds_scalars_sound_and_pictures(tmp_path, capfd):
  tone = 1.2 * np.sin(np.arange(800) / 5)
  with MetricWriter(tmp_path) as writer:
    writer.write_scalars(4, {'loss': 1.25})
    writer.write_audio(4, 'clip', tone, 8000)
    writer.write_image(4, 'plot', np.zeros((10, 12, 3), np.uint8))
    writer.write_image(4, 'float', np.ones((6, 4, 3)))
  values = {}
  for event in read_events(tmp_path):
    for value in event.summary.value:
      assert event.step == 4
      values[value.tag] = value
  assert set(values) == {'loss', 'clip', 'plot', 'float'}
  assert values['loss'].simple_value == 1.25
  assert values['clip'].audio.sample_rate == 8000
  assert values['clip'].audio.length_frames == 800
  assert (values['plot'].image.height, values['plot'].image.width) == (10, 12)
  out, err = capfd.readouterr()
  assert (out, err) == ('', '')


def test_other_processes_write_nothing(tmp_path):
  with MetricWriter(tmp_path / 'run', active=False) as writer:
    writer.rewind(3)
    writer.write_scalars(1, {'loss': 1.0})
    writer.write_audio(1, 'clip', np.zeros(8), 8000)
    writer.write_image(1, 'plot', np.zeros((2, 2, 3)))
  assert not (tmp_path / 'run').exists()


def test_a_full_disk_is_an_error_and_no_wait(tmp_path, monkeypatch):
  full = pathlib.Path('/dev/full')
  monkeypatch.setattr(record_writer, 'open_file', lambda _: full.open('wb'))
  writer = MetricWriter(tmp_path)
  with pytest.raises(OSError, match='No space left'):
    for step in range(1000):  # Some of them are held back.
      writer.write_scalars(step, {'loss': 1.0, 'rate': 2.0})
  assert len(read_lines(tmp_path)) == step + 1
  with pytest.raises(OSError, match='No space left'):
    writer.close()
  writer.close()
