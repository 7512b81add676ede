#!/usr/bin/env bash
# A training on several computers of a SLURM cluster:
#
#   python SegmentModule/Scripts/segment.py train --dataset DATA --method unet --output RUN --prepare
#   sbatch --nodes 2 --gpus-per-node 4 MedDeepExtension/Scripts/train_slurm.sh RUN
#
# One task a computer starts torch's launcher, which starts one process a card. PYTHON names the interpreter with the
# extension's packages. Submitted again, a training that was stopped or died goes on; also with other numbers.
#SBATCH --job-name=meddeep-train
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --output=%x-%j.log
# A minute before its time is over SLURM asks the processes to save.
#SBATCH --signal=TERM@60
set -euo pipefail

run=${1:?name the run folder}
# sbatch runs a copy of this file, so where the extension lies must be told from outside, or is where it was submitted.
extension=${MEDDEEP_EXTENSION:-$SLURM_SUBMIT_DIR/MedDeepExtension}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

exec srun "${PYTHON:-python}" -m torch.distributed.run \
  --nnodes "$SLURM_JOB_NUM_NODES" \
  --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:${PORT:-29400}" \
  "$extension/Scripts/train_rank.py" "$run"
