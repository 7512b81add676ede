"""Findings as a DICOM structured report (TID 1500), for PACS and other viewers; needs the package highdicom.

Each finding is a volumetric region (TID 1411) whose surface is the ellipsoid that fits into its box. The ellipsoid's
six end points hold centre, size and orientation of the box, and viewers show them. Class and review are qualitative
evaluations, the score is the certainty of the finding in percent, and facts are measurements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from MedDeepLib.data.files import atomic_path
from MedDeepLib.data.formats import dicom
from MedDeepLib.data.sources.boxes import Box, right_handed
from MedDeepLib.errors import UserError

from DetectModuleLib.findings.finding import REVIEWS, Finding

_TO_LPS = np.array([-1.0, -1.0, 1.0])
_SCHEME = "99MEDDEEP"
_CLASS, _REVIEW = ("CLASS", "Class of the finding"), ("REVIEW", "Review")
_CERTAINTY = ("111012", "Certainty of Finding")
_NO_UNIT = ("1", "no units")
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_LONGEST = 64  # characters of a code's meaning, as DICOM has it


def write(path: Path, findings: Sequence[Finding], series: Path | None) -> None:
    """Write a report. Raises UserError when highdicom is missing, or the image is no DICOM series."""
    hd, codes = _packages()
    if series is None or not dicom.is_dicom(series):
        raise UserError(
            f"{path.name} was not written: a DICOM report refers to a DICOM series, and the image is none. Write "
            ".mrk.json or .csv, or choose a DICOM folder as input."
        )
    images = _headers(dicom.choose_series(series).files)
    observer = hd.sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name="MedDeepExtension")
    context = hd.sr.ObservationContext(observer_device_context=hd.sr.ObserverContext(codes.DCM.Device, observer))
    try:
        regions = [_region(hd, finding, number, images) for number, finding in enumerate(findings, start=1)]
        report = hd.sr.Comprehensive3DSR(
            evidence=images,
            content=hd.sr.MeasurementReport(context, codes.cid100.ImagingProcedure, regions or [_none(hd)]),
            series_instance_uid=hd.UID(),
            series_number=1,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="MedDeepExtension",
            series_description="Findings",
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path.name} was not written: the DICOM series lacks what a report must repeat ({error}). Write .mrk.json "
            "or .csv instead."
        ) from error
    with atomic_path(path, ".dcm") as temporary:
        report.save_as(temporary)


def read(path: Path) -> list[Finding]:
    """The findings of a report that :func:`write` has written. Raises UserError for anything else."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        report = pydicom.dcmread(path)
    except (OSError, InvalidDicomError):
        raise UserError(f"{path} cannot be read as a DICOM report: export it again.") from None
    found = []
    for group in _groups(report):
        items = group.ContentSequence
        surface = next((item for item in items if getattr(item, "GraphicType", "") == "ELLIPSOID"), None)
        if surface is not None:
            found.append(_finding(surface, items))
    return found


def _packages() -> tuple[Any, Any]:
    try:
        import highdicom
    except ImportError:
        raise UserError(
            "A DICOM report needs the Python package highdicom, which is not installed: install it, or write .mrk.json "
            "or .csv."
        ) from None
    from pydicom.sr.codedict import codes

    return highdicom, codes


def _headers(files: Sequence[Path]) -> list[Any]:
    """The headers of a series; what a report repeats of them and they lack is empty, as DICOM allows."""
    import pydicom

    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    for header in headers:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, "")
    return headers


def _region(hd: Any, finding: Finding, number: int, images: Sequence[Any]) -> Any:
    first, box = images[0], finding.box

    def code(value: str, meaning: str, scheme: str = _SCHEME) -> Any:
        return hd.sr.CodedConcept(value, scheme, meaning[:_LONGEST])

    name = box.class_name or "finding"
    measurements = [
        hd.sr.Measurement(code(f"FACT{n}", fact), float(value), code(*_NO_UNIT, "UCUM"))
        for n, (fact, value) in enumerate(finding.facts.items())
    ]
    if box.score is not None:
        percent = code("%", "percent", "UCUM")
        measurements.insert(0, hd.sr.Measurement(code(*_CERTAINTY, "DCM"), 100 * float(box.score), percent))
    told = [(_CLASS, "CLASS_NAME", name), (_REVIEW, "REVIEW_RESULT", finding.review)]
    surface = hd.sr.VolumeSurface(
        "ELLIPSOID",
        _end_points(box),
        first.FrameOfReferenceUID,
        source_series=hd.sr.SourceSeriesForSegmentation(first.SeriesInstanceUID),
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=box.name or f"{name}-{number}"),
        referenced_volume_surface=surface,
        finding_type=code("FINDING", name),
        measurements=measurements,
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(code(*question), code(value, answer))
            for question, value, answer in told
            if answer
        ],
    )


def _none(hd: Any) -> Any:
    """What a report without findings says: it may not be empty."""
    evaluation = hd.sr.QualitativeEvaluation(
        hd.sr.CodedConcept("FINDINGS", _SCHEME, "Findings"), hd.sr.CodedConcept("NONE", _SCHEME, "none")
    )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier="none"),
        qualitative_evaluations=[evaluation],
    )


def _end_points(box: Box) -> np.ndarray:
    """The ends of the ellipsoid's three axes (6, 3) in LPS mm, as DICOM wants them: two of each axis."""
    arms = (box.axes * box.size / 2).T
    return np.repeat(box.center[None], 6, 0) * _TO_LPS + np.stack([-arms, arms], 1).reshape(6, 3) * _TO_LPS


def _groups(report: Any) -> Iterator[Any]:
    """All measurement groups, at any depth."""
    for item in getattr(report, "ContentSequence", ()):
        if _meaning(item) == "Measurement Group":
            yield item
        else:
            yield from _groups(item)


def _finding(surface: Any, items: Sequence[Any]) -> Finding:
    points = np.array(surface.GraphicData, np.float64).reshape(6, 3) * _TO_LPS
    arms = (points[1::2] - points[::2]).T
    size = np.linalg.norm(arms, axis=0)
    texts, numbers, name = {}, {}, ""
    for item in items:
        if item.ValueType == "CODE":
            texts[_meaning(item)] = str(item.ConceptCodeSequence[0].CodeMeaning)
        elif item.ValueType == "NUM":
            numbers[_meaning(item)] = float(item.MeasuredValueSequence[0].NumericValue)
        elif item.ValueType == "TEXT" and _meaning(item) == "Tracking Identifier":
            name = str(item.TextValue)
    score = numbers.pop(_CERTAINTY[1], None)
    review = texts.get(_REVIEW[1], "")
    axes = right_handed(arms / size)
    box = Box(points.mean(0), size, axes, name, texts.get(_CLASS[1], ""), None if score is None else score / 100)
    return Finding(box, review=review if review in REVIEWS else "", facts=numbers)


def _meaning(item: Any) -> str:
    named = getattr(item, "ConceptNameCodeSequence", None)
    return str(named[0].CodeMeaning) if named else ""
