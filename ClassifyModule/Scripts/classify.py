"""Deep classification from the command line: train, apply, evaluate.

Runs under any Python that has the extension's packages, and inside Slicer without its window:

    python ClassifyModule/Scripts/classify.py apply --model RUN --input chest.nii.gz --output answer.json
    Slicer --no-main-window --python-script ClassifyModule/Scripts/classify.py apply --model RUN --input ...
"""

import sys
from pathlib import Path

# In a source tree the shared library lies beside the module; in an installed extension both share one folder.
_module = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_module), str(_module.parent / "MedDeepExtension")]

from MedDeepLib.cli.command_line import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("classify"))
