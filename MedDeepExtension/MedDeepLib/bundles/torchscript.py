"""Exports a network as TorchScript, for programs with neither MONAI nor the code of the method."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


def save_script(network: torch.nn.Module, path: Path, metadata: dict[str, Any], configs: dict[str, Any]) -> bool:
    """Write a network, with its metadata and configurations inside as MONAI does; False if it cannot be scripted.

    Not every network can be scripted, and that must not fail a training: nothing is written then.
    """
    import torch
    from monai.data import save_net_with_metadata

    try:
        files = {name: json.dumps(content, indent=2).encode() for name, content in configs.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls TorchScript deprecated; bundles still use it
            script = torch.jit.script(copy.deepcopy(network).cpu().eval())
            save_net_with_metadata(script, str(path), meta_values=metadata, more_extra_files=files)
    except OSError:
        raise
    except Exception as error:  # the compiler can raise anything for a network that it does not support
        _log.info("no TorchScript: %s", error)
        path.unlink(missing_ok=True)
        return False
    return True
