"""The worker process of a cohort: ``python -m MedDeepLib.cohort JOBFOLDER``, otherwise as :mod:`MedDeepLib.worker`."""

from __future__ import annotations

import sys

from MedDeepLib.cohort.driver import apply_to_cohort
from MedDeepLib.worker import __main__ as worker


def main(arguments: list[str] | None = None) -> int:
    return worker.main(arguments, more_actions={"cohort": apply_to_cohort})


if __name__ == "__main__":
    sys.exit(main())
