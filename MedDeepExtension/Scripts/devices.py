"""Devices of this computer from the command line: who holds them, who waits.

python MedDeepExtension/Scripts/devices.py list
"""

import sys
from pathlib import Path

# In a source tree a job finds its method in the module beside this one; installed, all share one folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from MedDeepLib.cli.devices_command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
