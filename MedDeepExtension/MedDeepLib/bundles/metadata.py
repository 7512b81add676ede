"""MONAI's ``metadata.json``: its required entries, its channels and labels, and the entries of our own models.

MONAI publishes its schema only on the web, in no package, so its requirements are repeated here to check bundles
offline (the versions of 2022 and 2024, which differ in the name of one entry).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
BACKGROUND = ("background", "bg", "everything else", "outside")
_REQUIRED = {
    "schema": str,
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}
_EITHER = ("required_packages_version", "optional_packages_version")
_OPTIONAL = {
    "changelog": dict,
    "data_source": str,
    "data_type": str,
    "image_classes": str,
    "label_classes": str,
    "pred_classes": str,
    "eval_metrics": dict,
    "intended_use": str,
    "references": list,
    "supported_apps": dict,
}
_TENSOR = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
}
_TENSOR_OPTIONAL = {"is_patch_data": bool, "channel_def": dict}
_KINDS = {str: "a text", int: "a whole number", dict: "an object", list: "a list", bool: "true or false"}


def problems(metadata: Mapping[str, Any]) -> list[str]:
    """Violations of MONAI's schema, in words; empty for valid metadata."""
    found = _wrong_entries(metadata, _REQUIRED, _OPTIONAL, "")
    if not any(isinstance(metadata.get(key), dict) for key in _EITHER):
        found.append(f"'{_EITHER[0]}' is missing")
    for name, formats in metadata.items():
        if name.endswith("_data_format") and isinstance(formats, dict):
            for side in ("inputs", "outputs"):
                if not isinstance(formats.get(side), dict):
                    found.append(f"'{name}' lacks '{side}'")
                    continue
                for tensor, entry in formats[side].items():
                    if isinstance(entry, dict):
                        found += _wrong_entries(entry, _TENSOR, _TENSOR_OPTIONAL, f"{name}.{side}.{tensor}.")
    return found


def _wrong_entries(content: Mapping[str, Any], required: dict, optional: dict, where: str) -> list[str]:
    found = [f"'{where}{key}' is missing" for key in required if key not in content]
    for key, kind in (required | optional).items():
        value = content.get(key)
        if key in content and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            found.append(f"'{where}{key}' is not {_KINDS[kind]}")
    return found


def tensor_format(metadata: Mapping[str, Any], side: str, name: str) -> dict[str, Any]:
    """The description of an input or output: the one called ``name`` or, without a name, the first; may be empty."""
    formats = metadata.get("network_data_format")
    formats = formats.get(side) if isinstance(formats, dict) else None
    if not isinstance(formats, dict) or not formats:
        return {}
    entry = formats.get(name, next(iter(formats.values())))
    return entry if isinstance(entry, dict) else {}


def channel_names(tensor: Mapping[str, Any]) -> list[str]:
    """The names of a tensor's channels in order; raises ValueError, with the reason, when they are invalid."""
    names = tensor.get("channel_def") or {}
    count = tensor.get("num_channels")
    if not isinstance(names, dict) or not all(str(key).isdecimal() and isinstance(v, str) for key, v in names.items()):
        raise ValueError("its 'channel_def' does not map channel numbers to names")
    ordered = [str(names[key]).strip() for key in sorted(names, key=int)]
    if sorted(int(key) for key in names) != list(range(len(names))):
        raise ValueError("its 'channel_def' leaves out a channel")
    if ordered and isinstance(count, int) and count != len(ordered):
        raise ValueError(f"it says {count} channel{'s' if count != 1 else ''} but names {len(ordered)}")
    return ordered or [f"channel {number + 1}" for number in range(count if isinstance(count, int) else 0)]


def has_background(names: list[str]) -> bool:
    """Whether the first of these names stands for the background."""
    return bool(names) and names[0].casefold() in BACKGROUND


def plain_format(channels: Sequence[str]) -> dict[str, Any]:
    """MONAI's description of inputs of which only the names are known, and of unknown outputs."""
    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": len(channels),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "channel_def": {str(number): name for number, name in enumerate(channels)},
    }
    return {"inputs": {"image": image}, "outputs": {}}


def monai_metadata(name: str, summary: str, data_format: dict[str, Any]) -> dict[str, Any]:
    """MONAI's part of the metadata of a model made here."""
    import monai
    import numpy
    import torch

    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "trained"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": numpy.__version__,
        "required_packages_version": {"itk": "5.4", "scikit-image": "0.24", "scipy": "1.14"},
        "optional_packages_version": {},
        "name": name,
        "task": summary,
        "description": summary,
        "authors": "made with MedDeepExtension",
        "copyright": "of the person who trained it",
        "intended_use": "Research use only; not for clinical decisions.",
        "network_data_format": data_format,
    }
