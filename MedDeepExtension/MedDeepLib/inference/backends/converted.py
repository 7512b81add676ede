"""Converted networks on disk: kept beside the model, or in the user's state folder where nothing may be added to it.

An entry is a folder that appears when it is complete::

    <key>/network.xml, network.bin    the converted network; missing where OpenVINO was refused
    <key>/entry.json                  their hashes, or the reason of the refusal

Whatever is missing, damaged or of another version is converted again; a folder that cannot be written to only costs
time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from MedDeepLib.bundles.layout import CONVERTED
from MedDeepLib.data.fingerprints import file_hash
from MedDeepLib.devices.locks import state_folder

_LAYOUT = 1
_ENTRY = "entry.json"
_FILES = {"network.xml", "network.bin"}
_MOST_ENTRIES = 8  # of a folder; the oldest make room


@dataclass(frozen=True)
class Entry:
    """What is known of a network for one shape of input.

    Attributes:
        folder: holds the converted network; None where OpenVINO was refused.
        listed: whether the network returns a list.
        reason: why OpenVINO was refused.
    """

    folder: Path | None = None
    listed: bool = False
    reason: str = ""


class Converted:
    """The converted networks of one model."""

    def __init__(self, model_folder: Path | None = None, own: bool = True):
        """
        Args:
            model_folder: None: nothing is kept.
            own: False for a model whose folder must stay as it is: its entries are in the state folder.
        """
        self._nowhere = model_folder is None
        self._beside = Path(model_folder) / CONVERTED if model_folder is not None and own else None

    def find(self, key: str) -> Entry | None:
        """The entry of a key; None when there is none, or it is damaged, in which case it is removed."""
        for folder in self._folders():
            entry = _read(folder / key)
            if entry is not None:
                return entry
        return None

    def keep(self, key: str, listed: bool, reason: str, save: Callable[[Path], None]) -> None:
        """Write an entry in the first folder that takes it; ``save`` writes the network into a folder."""
        for folder in self._folders():
            part = folder / f".part-{uuid.uuid4().hex[:12]}"
            try:
                part.mkdir(parents=True)
                _write(part, listed, reason, save)
                _make_room(folder)
                os.replace(part, folder / key)
                return
            except (OSError, RuntimeError):  # read-only, full, or another process was faster
                if (folder / key).is_dir():
                    return
            finally:
                shutil.rmtree(part, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        """Where entries may be, the first choice first. The state folder, which this makes, only where it is needed."""
        if self._nowhere:
            return
        if self._beside is not None:
            yield self._beside
        if self._beside is None or not _is_usable(self._beside):
            yield state_folder() / "openvino"


def _is_usable(folder: Path) -> bool:
    parent = folder if folder.exists() else folder.parent
    return parent.is_dir() and os.access(parent, os.W_OK)


def network_key(network: torch.nn.Module) -> str:
    """Changes with the weights and the structure of a network."""
    digest = hashlib.sha256(f"{type(network).__module__}.{network!r}".encode())
    for name, value in sorted(network.state_dict().items()):
        if isinstance(value, torch.Tensor):
            tensor = value.detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def entry_key(network: str, *facts: Any) -> str:
    """The key of an entry: of the network's key, and the facts (JSON values) that a conversion depends on."""
    return hashlib.sha256(json.dumps([_LAYOUT, network, *facts]).encode()).hexdigest()[:32]


def _write(folder: Path, listed: bool, reason: str, save: Callable[[Path], None]) -> None:
    if not reason:
        save(folder)
    files = {file.name: file_hash(file) for file in folder.iterdir()}
    content = {"files": files, "listed": listed, "reason": reason}
    (folder / _ENTRY).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> Entry | None:
    if not folder.is_dir():
        return None
    try:
        content = json.loads((folder / _ENTRY).read_text(encoding="utf-8"))
        reason, files = str(content["reason"]), dict(content["files"])
        if reason:
            return Entry(reason=reason)
        if set(files) == _FILES and all(file_hash(folder / name) == files[name] for name in _FILES):
            return Entry(folder, bool(content["listed"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _make_room(folder: Path) -> None:
    entries = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
    entries.sort(key=lambda path: path.stat().st_mtime)
    for path in entries[: max(0, len(entries) - _MOST_ENTRIES + 1)]:
        shutil.rmtree(path, ignore_errors=True)
