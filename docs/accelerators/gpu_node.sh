#!/usr/bin/env bash
# A machine with several NVIDIA GPUs, or several such machines under Slurm.
#
#     docs/accelerators/gpu_node.sh install
#     docs/accelerators/gpu_node.sh run runs/large
#     sbatch --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 \
#         docs/accelerators/gpu_node.sh slurm /shared/runs/large
#
# `run` uses all GPUs of this machine in one process. `slurm` starts one
# process for each GPU; they find each other by Slurm's environment, and the
# folders of the run and of the dataset must be on a disk that all see: the
# latter is ~/tensorflow_datasets, or --config.dataset.data_dir=DIR. More flags
# go to the main job, such as --config.train.joint_steps=1000. A run that
# stopped goes on with the same command. Needs Python 3.11 and NVIDIA's driver.
set -euo pipefail

usage() { sed -n '2,14p' "$0" >&2; exit 2; }

train() {  # GPUS FOLDER FLAGS...
  local gpus=$1 folder=$2
  shift 2
  .venv/bin/python -m dance2wave.main --config=configs/wavenet_large.py \
    --config.mesh.data="$gpus" --workdir="$folder" "$@"
}

(($# >= 1)) || usage
[[ $1 == slurm ]] || cd "$(dirname "$0")/../.."
what=$1
shift
case $what in
  install)
    python3.11 -m venv .venv
    .venv/bin/pip install -e '.[cuda]' -c docs/constraints/py311.txt
    .venv/bin/python -c 'import jax; print(jax.devices())'
    ;;
  run)
    (($# >= 1)) || usage
    train "$(nvidia-smi --list-gpus | wc -l)" "$@"
    ;;
  slurm)
    (($# >= 1)) || usage
    srun .venv/bin/python -m dance2wave.main --multihost \
      --config=configs/wavenet_large.py --config.mesh.data="$SLURM_NTASKS" \
      --workdir="$1" "${@:2}"
    ;;
  *) usage ;;
esac
