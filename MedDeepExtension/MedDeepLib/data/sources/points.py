"""Landmarks: named points in RAS millimetres, from the files in which 3D Slicer keeps them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from MedDeepLib.errors import UserError

_LPS = ("LPS", "1")


def read_landmarks(path: str | Path) -> dict[str, tuple[float, float, float]]:
    """The points of a ``.mrk.json``, ``.fcsv`` or ``.csv`` (columns name, r, a, s) by name, in RAS mm.

    Points without a name are called by their number, from 1.

    Raises UserError when the file cannot be read or holds no points.
    """
    path = Path(path)
    readers = {".json": _from_markups, ".fcsv": _from_fcsv, ".csv": _from_csv}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path.name} cannot be read as landmarks: use .mrk.json, .fcsv or .csv.")
    try:
        points = readers[path.suffix.lower()](path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error):
        raise UserError(f"The landmarks in {path} cannot be read: save them again from Slicer's Markups.") from None
    if not points:
        raise UserError(f"The file {path} holds no landmarks: place some, or leave it out.")
    return points


def _from_markups(text: str) -> dict[str, tuple[float, float, float]]:
    points = {}
    for markup in json.loads(text)["markups"]:
        sign = -1 if markup.get("coordinateSystem", "LPS") in _LPS else 1
        for number, point in enumerate(markup["controlPoints"], start=1):
            if point.get("positionStatus", "defined") == "defined":
                x, y, z = map(float, point["position"])
                points[point.get("label") or str(number)] = (sign * x, sign * y, z)
    return points


def _from_fcsv(text: str) -> dict[str, tuple[float, float, float]]:
    lines = text.splitlines()
    system = next((line.split("=")[1].strip() for line in lines if line.startswith("# CoordinateSystem")), "LPS")
    sign = -1 if system in _LPS else 1
    points = {}
    rows = csv.reader(line for line in lines if line and not line.startswith("#"))
    for number, row in enumerate(rows, start=1):
        name = row[11] if len(row) > 11 and row[11] else str(number)
        points[name] = (sign * float(row[1]), sign * float(row[2]), float(row[3]))
    return points


def _from_csv(text: str) -> dict[str, tuple[float, float, float]]:
    points = {}
    for number, row in enumerate(csv.DictReader(text.splitlines()), start=1):
        row = {key.strip().lower(): value for key, value in row.items()}
        points[row.get("name") or str(number)] = (float(row["r"]), float(row["a"]), float(row["s"]))
    return points
