"""Shared code for 3D Slicer's markup files (``.mrk.json``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data.delimited import decoded
from MedDeepLib.errors import UserError

_TO_RAS = {"LPS": np.diag([-1.0, -1.0, 1.0]), "RAS": np.eye(3)}
_NUMBERS = {"0": "RAS", "1": "LPS"}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns any error in a file into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise UserError(f"{path} cannot be read as markups: save it again from Slicer's Markups.") from None


def read_markups(path: Path) -> list[dict[str, Any]]:
    """The raw markups of a file. Raises UserError when it is not a markups file."""
    with readable(path):
        listed = json.loads(decoded(path.read_bytes()))["markups"]
        if not isinstance(listed, list) or not all(isinstance(markup, dict) for markup in listed):
            raise ValueError
        return listed


def to_ras(markup: dict[str, Any], path: Path) -> np.ndarray:
    """The matrix (3x3) from a markup's own coordinates to RAS; Slicer writes LPS by default.

    Raises UserError for coordinates that are neither, or not in millimetres.
    """
    system = str(markup.get("coordinateSystem", "LPS")).upper()
    system = _NUMBERS.get(system, system)
    if system not in _TO_RAS:
        raise UserError(f"{path} is in the coordinate system '{system}': save it in LPS or RAS.")
    unit = markup.get("coordinateUnits", "mm")
    unit = unit[0] if isinstance(unit, list) and unit else unit
    if unit != "mm":
        raise UserError(f"{path} is in the unit '{unit}': save it in millimetres.")
    return _TO_RAS[system]
