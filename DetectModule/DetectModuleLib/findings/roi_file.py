"""Findings as ROI markups in a ``.mrk.json``, which Slicer opens: one ROI each, with its class, score and facts.

The class is the description of the ROI's control point; score, review and facts are measurements, which Slicer shows
and keeps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from MedDeepLib.data.files import atomic_path
from MedDeepLib.data.sources import markups
from MedDeepLib.data.sources.boxes import read_boxes, right_handed

from DetectModuleLib.findings.finding import Finding

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_REVIEWS = {"accepted": 1.0, "rejected": -1.0}
_OWN = ("score", "review", "volume")  # Slicer adds the volume of a ROI by itself


def write(path: Path, findings: Sequence[Finding]) -> None:
    """Write findings; an empty file for none is valid, too. Raises UserError when it cannot be written."""
    content = {"@schema": _SCHEMA, "markups": [_markup(finding, n) for n, finding in enumerate(findings, start=1)]}
    with atomic_path(path, ".json") as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> list[Finding]:
    """The ROIs of a file, also of one that Slicer has saved. Raises UserError when it cannot be read."""
    boxes = read_boxes(path)
    raw = [one for one in markups.read_markups(path) if one.get("type") == "ROI"]
    found = []
    for box, markup in zip(boxes, raw, strict=True):
        with markups.readable(path):
            values = _measurements(markup)
        review = next((word for word, value in _REVIEWS.items() if values.get("review") == value), "")
        facts = {name: value for name, value in values.items() if name not in _OWN}
        found.append(Finding(box, review=review, facts=facts))
    return found


def _markup(finding: Finding, number: int) -> dict[str, Any]:
    box = finding.box
    center = (_TO_LPS @ box.center).tolist()
    label = f"{box.class_name or 'finding'}-{number}"
    measured = {"score": box.score, "review": _REVIEWS.get(finding.review)} | dict(finding.facts)
    return {
        "type": "ROI",
        "name": box.name or label,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": 1,
        "roiType": "Box",
        "center": center,
        "orientation": (_TO_LPS @ right_handed(box.axes)).ravel().tolist(),
        "size": box.size.tolist(),
        "insideOut": False,
        "controlPoints": [
            {
                "id": "1",
                "label": label,
                "description": box.class_name,
                "associatedNodeID": "",
                "position": center,
                "orientation": _TO_LPS.ravel().tolist(),
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
        ],
        "measurements": [
            {"name": name, "enabled": True, "value": float(value), "units": "", "printFormat": "%-#4.3g%s"}
            for name, value in measured.items()
            if value is not None
        ],
    }


def _measurements(markup: dict[str, Any]) -> dict[str, float]:
    """The values of all measurements that have one."""
    listed = markup.get("measurements", [])
    return {str(one["name"]): float(one["value"]) for one in listed if one.get("value") is not None}
