"""One process of a training on several computers that share the run folder.

python SegmentModule/Scripts/segment.py train --dataset DATA --method unet --output RUN --prepare

and then, on each of (here) two computers with four GPUs each:

torchrun --nnodes 2 --nproc-per-node 4 --rdzv-id 1 --rdzv-backend c10d --rdzv-endpoint FIRST_COMPUTER:29400 \
    MedDeepExtension/Scripts/train_rank.py RUN

Dataset and run folder must have the same path on all of them. With SLURM, see train_slurm.sh beside this file. The same
command resumes a training that was stopped (``jobs.py stop RUN``) or died, also with other numbers.
"""

import sys
from pathlib import Path

# In a source tree a job finds its method in the module beside this one; installed, all share one folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from MedDeepLib.worker.rank import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
