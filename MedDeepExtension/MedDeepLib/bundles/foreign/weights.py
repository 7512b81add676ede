"""The weights of bundles: only tensors, from undamaged files, that fit their network."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedDeepLib.data.formats.tensor_file import DamagedFileError, load_tensors
from MedDeepLib.errors import UserError

if TYPE_CHECKING:
    import torch

LARGE_FILES = ("large_files.yml", "large_files.yaml")
_ENTRY = re.compile(r"""^\s*-?\s*(path|url|hash_val|hash_type)\s*:\s*["']?([^"'\n]+?)["']?\s*$""", re.MULTILINE)
_HASHES = {"md5", "sha1", "sha256", "sha512"}


def check_large_files(folder: Path) -> None:
    """Compare files with the checksums that the bundle lists for them, as bundles of MONAI's zoo do.

    Raises UserError when one is missing or differs.
    """
    for listed in large_files(folder):
        path = folder / listed.get("path", "")
        kind, expected = listed.get("hash_type", "md5").lower(), listed.get("hash_val", "").lower()
        if not path.is_file() or kind not in _HASHES or not expected:
            continue  # a missing file that is needed is noticed when it is opened
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected:
            raise UserError(
                f"{path} is not the bundle's original file (its {kind} checksum is {found}, not "
                f"{expected}): fetch it again."
            )


def large_files(folder: Path) -> list[dict[str, str]]:
    """The bundle's list of files that are fetched separately: path, url, hash_val, hash_type."""
    listed: list[dict[str, str]] = []
    for name in LARGE_FILES:
        file = folder / name
        if file.is_file() and file.stat().st_size < 1_000_000:
            for key, value in _ENTRY.findall(file.read_text(encoding="utf-8", errors="replace")):
                if key == "path" or not listed:
                    listed.append({})
                listed[-1][key] = value
    return listed


def read_checkpoint(folder: Path, path: Path) -> dict[str, Any]:
    """The content of a weight file, on the CPU; nothing in it is executed.

    Raises UserError when it is missing, damaged, outside the bundle, or holds more than tensors and plain values.
    """
    path = path if path.is_absolute() else folder / path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"The bundle {folder} wants its weights from {path}, outside its folder: it was not run.")
    if not path.is_file():
        urls = [
            listed["url"]
            for listed in large_files(folder)
            if listed.get("url") and path == folder / listed.get("path", "")
        ]
        remedy = f"fetch it from {urls[0]}" if urls else "copy the whole bundle again"
        raise UserError(f"The bundle {folder} has no weights, {path.relative_to(folder)} is missing: {remedy}.")
    try:
        content = _load(path)
    except (DamagedFileError, ValueError):
        raise UserError(
            f"The weights {path} cannot be read: it is damaged, or contains more than tensors, which is not loaded "
            "because it could run code."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"The weights {path} are not those of a network: choose another bundle.")
    return content


def load_into(network: torch.nn.Module, weights: dict[str, Any], path: Path, strict: bool = True) -> None:
    """Give a network its weights. Raises UserError, naming the first one that does not fit."""
    own = network.state_dict()
    for name, value in weights.items():
        shape = tuple(getattr(value, "shape", ()))
        if name in own and shape != tuple(own[name].shape):
            raise UserError(
                f"The weights {path} do not fit the bundle's network: '{name}' has the shape {shape} in the file and "
                f"{tuple(own[name].shape)} in the network."
            )
    missing, unknown = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if strict and (missing or unknown):
        what = f"lack '{missing[0]}'" if missing else f"hold '{unknown[0]}', which it does not have"
        raise UserError(f"The weights {path} do not fit the bundle's network: they {what}.")
    try:
        network.load_state_dict(weights, strict=strict)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The weights {path} do not fit the bundle's network ({reason}): use another bundle.") from None


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError:
            raise UserError(f"{path} needs the Python package safetensors: install it.") from None
        try:
            return load_file(path)
        except SafetensorError as error:
            raise DamagedFileError(str(path)) from error
    if zipfile.is_zipfile(path):
        return load_tensors(path)
    import torch

    try:  # torch's older format is not an archive
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make its readers raise anything
        raise DamagedFileError(str(path)) from error
