"""A process that may come late to the first collective; run with --multihost.

The last argument is by how many seconds all but the first process are late.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from dance2wave.errors import one_line_errors
from dance2wave.training import hosts, sharding

with one_line_errors():
  hosts.start()
  print('joined', flush=True)
  mesh = sharding.make_mesh(jax.device_count(), 1)
  mine = np.ones(jax.local_device_count(), np.float32)
  ones_B = sharding.shard_batch(mine, mesh)
  if not hosts.is_first():
    time.sleep(float(sys.argv[-1]))
  print(float(hosts.together(jax.jit(jnp.sum))(ones_B)))
  hosts.wait('done')
