#!/usr/bin/env bash
# One TPU VM, or all VMs of a pod slice: create, install, compile, run, resume.
#
#     docs/accelerators/tpu_vm.sh create NAME v5litepod-8 us-west4-a
#     docs/accelerators/tpu_vm.sh install NAME us-west4-a
#     docs/accelerators/tpu_vm.sh compile NAME us-west4-a gs://BUCKET/run \
#         --config.mesh.data=8
#     docs/accelerators/tpu_vm.sh run NAME us-west4-a gs://BUCKET/run \
#         --config.mesh.data=8
#     docs/accelerators/tpu_vm.sh delete NAME us-west4-a
#
# A slice of several VMs (v5litepod-16 and more) takes the same commands: each
# runs on all of its VMs, and they find each other. A run that stopped, also
# by preemption, goes on with the same `run`. `compile` makes the programs of a
# run beforehand, and may be left out. Needs gcloud, logged in, with a
# project. The folders of the run and of the dataset must be seen by every VM:
# mount a bucket or a file store at the same place on all of them (below:
# gcsfuse; the dataset is in gs://BUCKET/tensorflow_datasets).
set -euo pipefail

usage() { sed -n '2,18p' "$0" >&2; exit 2; }

on_all() {  # NAME ZONE COMMAND
  gcloud compute tpus tpu-vm ssh "$1" --zone="$2" --worker=all --command="$3"
}

(($# >= 3)) || usage
what=$1 name=$2
case $what in
  create)
    (($# == 4)) || usage
    version=v2-alpha-tpuv5-lite
    case $3 in
      v6e*) version=v2-alpha-tpuv6e ;;
      v5p*) version=v2-alpha-tpuv5 ;;
      v4*) version=tpu-ubuntu2204-base ;;
    esac
    gcloud compute tpus tpu-vm create "$name" --zone="$4" \
      --accelerator-type="$3" --version="$version"
    ;;
  install)
    zone=$3
    git archive --format=tar.gz -o /tmp/dance2wave.tar.gz HEAD
    gcloud compute tpus tpu-vm scp /tmp/dance2wave.tar.gz "$name": \
      --zone="$zone" --worker=all
    on_all "$name" "$zone" 'set -e
      mkdir -p dance2wave && tar xzf dance2wave.tar.gz -C dance2wave
      sudo apt-get update -q
      sudo apt-get install -y -q python3.11-venv libgl1 libegl1 libgles2
      python3.11 -m venv venv
      cd dance2wave && ../venv/bin/pip install -q -e ".[tpu]" \
        -c docs/constraints/py311.txt
      ../venv/bin/python -c "import jax; print(jax.devices())"'
    ;;
  compile | run)
    (($# >= 4)) || usage
    module=main
    [[ $what == run ]] || module=compile
    zone=$3 bucket=${4#gs://}
    folder=/mnt/run/${bucket#*/}
    bucket=${bucket%%/*}
    shift 4
    on_all "$name" "$zone" "set -e
      sudo mkdir -p /mnt/run && sudo chown \$USER /mnt/run
      mountpoint -q /mnt/run || gcsfuse --implicit-dirs $bucket /mnt/run
      cd dance2wave && ../venv/bin/python -m dance2wave.$module --multihost \
        --config=configs/wavenet_large.py --workdir=$folder \
        --config.dataset.data_dir=/mnt/run/tensorflow_datasets $*"
    ;;
  delete) gcloud compute tpus tpu-vm delete "$name" --zone="$3" --quiet ;;
  *) usage ;;
esac
