"""What accelerators can do at most, for `cost`: published peaks.

Sources, read 2026-11-26:
  NVIDIA's data sheets of the A100 80 GB SXM, H100 SXM and H200 SXM (dense
  bf16; NVLink in one direction is half of what they state for both) and of
  DGX A100 and DGX H100 for the network (one 200 or 400 Gb/s card for a GPU);
  docs.cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e (ICI of a chip in one
  direction: 2,400, 1,600, 4,800 and 3,200 Gb/s; the network of a pod of v5e
  and v6e, 6.4 and 25.6 Tb/s, by its 256 chips).
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Accelerator:
  """One device and its links.

  Attributes:
    name: as it is called.
    flops: bf16 matrix FLOP/s.
    memory_bytes: of the device.
    memory_rate: bytes/s between the device and its memory.
    link_rate: bytes/s that a device sends to others of its island.
    island: devices that such links join.
    network_rate: bytes/s that a device sends out of its island.
  """

  name: str
  flops: float
  memory_bytes: float
  memory_rate: float
  link_rate: float
  island: int
  network_rate: float

  def rate(self, devices: int) -> float:
    """Bytes/s that each of `devices` can send in a ring of all."""
    is_island = devices <= self.island
    return self.link_rate if is_island else self.network_rate


ACCELERATORS = (
  Accelerator('A100 80 GB', 312e12, 80e9, 2.039e12, 300e9, 8, 25e9),
  Accelerator('H100', 989e12, 80e9, 3.35e12, 450e9, 8, 50e9),
  Accelerator('H200', 989e12, 141e9, 4.8e12, 450e9, 8, 50e9),
  Accelerator('TPU v4', 275e12, 32e9, 1.2e12, 300e9, 4096, 3.1e9),
  Accelerator('TPU v5e', 197e12, 16e9, 819e9, 200e9, 256, 3.1e9),
  Accelerator('TPU v5p', 459e12, 95e9, 2.765e12, 600e9, 8960, 3.1e9),
  Accelerator('TPU v6e', 918e12, 32e9, 1.6e12, 400e9, 256, 12.5e9),
)
