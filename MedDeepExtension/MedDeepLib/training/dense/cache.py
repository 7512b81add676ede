"""Training cases that are read once: in memory up to a limit, beyond it in files that are mapped into memory.

A patch needs a small part of a case, and only that part of a mapped file is read; the operating system keeps frequently
used parts in memory while there is room. So a training can use as many cases as the disk holds.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from MedDeepLib.errors import CannotWrite
from MedDeepLib.training import ranks
from MedDeepLib.training.dense.patches import CachedCase, Volume

_SHARE_OF_FREE_MEMORY = 0.5
# Part of every key, so that files with another layout, left by an interrupted training, are not used.
_LAYOUT = 2
_DESCRIPTION = "case.json"


class CaseCache:
    """Keeps cases; may be used by several threads."""

    def __init__(self, folder: Path, memory_bytes: int = 0):
        """
        Args:
            folder: for cases that do not fit into memory; created when needed.
            memory_bytes: memory limit of all cases; 0: half of what is free now. Processes that train together share
                it.
        """
        self._folder = folder
        self._left = memory_bytes or int(_SHARE_OF_FREE_MEMORY * psutil.virtual_memory().available)
        self._left //= ranks.count_here()
        self._lock = threading.Lock()

    def find(self, key: str) -> CachedCase | None:
        """The case if an earlier run has written it to disk, otherwise None."""
        folder = self._folder / key
        return _mapped(folder) if folder.is_dir() else None

    def keep(self, key: str, case: CachedCase) -> CachedCase:
        """The same case, in memory if it fits, otherwise mapped from files.

        Raises CannotWrite when the disk is full.
        """
        tensors = {name: volume.tensor for name, volume in case.volumes.items()}
        extras = {_extra(name): tensor for name, tensor in case.extras.items()}
        size = sum(tensor.nbytes for tensor in (tensors | extras).values())
        with self._lock:
            fits = size <= self._left
            self._left -= size if fits else 0
        if fits:
            return case
        folder = self._folder / key
        part = self._folder / f"{key}.{ranks.rank()}.part"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name, tensor in (tensors | extras).items():
                np.save(part / f"{name}.npy", tensor.numpy())
            voxels: dict[str, Any] = {str(value): index for value, index in case.voxels.items()}
            np.savez(part / "voxels.npz", **voxels)
            (part / _DESCRIPTION).write_text(json.dumps(_description(case)), encoding="utf-8")
            try:
                os.replace(part, folder)
            except OSError:
                if not folder.is_dir():
                    raise
                shutil.rmtree(part)  # another process of this training was faster
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
            raise CannotWrite(
                f"The training images do not fit into memory and could not be kept in {self._folder} ({reason}): make "
                "room there, or use fewer or smaller images."
            ) from error
        return _mapped(folder)

    def remove(self) -> None:
        """Delete the files; no process of the training may use cases mapped from them afterwards."""
        if ranks.leads():
            shutil.rmtree(self._folder, ignore_errors=True)


def cache_key(*files: Path, **settings: Any) -> str:
    """A key that changes with any file or setting that a case is made from; reads no file.

    Args:
        settings: JSON values.
    """
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    text = json.dumps([_LAYOUT, states, settings], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def _extra(name: str) -> str:
    """The file name of an extra, which may be named like a volume."""
    return f"extra-{name}"


def _description(case: CachedCase) -> dict[str, Any]:
    """What is not in the arrays: the volumes in their order, and how each is resampled."""
    volumes = {
        name: {
            "linear": volume.linear,
            "dtype": str(volume.dtype).removeprefix("torch.") if volume.dtype else None,
            "recoloured": volume.intensity,
            "padded": volume.padded,
        }
        for name, volume in case.volumes.items()
    }
    return {"volumes": volumes, "extras": list(case.extras)}


def _mapped(folder: Path) -> CachedCase:
    def load(name: str) -> torch.Tensor:
        # "c" is copy-on-write: nothing is ever written, but torch warns of read-only arrays.
        return torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))

    description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    volumes = {}
    for name, settings in description["volumes"].items():
        dtype = getattr(torch, settings["dtype"]) if settings["dtype"] else None
        intensity = settings.pop("recoloured")  # the name in files of interrupted trainings
        volumes[name] = Volume(load(name), intensity=intensity, **{**settings, "dtype": dtype})
    # An empty file cannot be mapped, and extras are small.
    extras = {name: torch.from_numpy(np.load(folder / f"{_extra(name)}.npy")) for name in description["extras"]}
    with np.load(folder / "voxels.npz") as voxels:
        return CachedCase(volumes, {int(value): voxels[value] for value in voxels.files}, extras)
