"""What becomes of reviewed findings: files for others, and cases to train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedDeepLib.data.added_cases import add_case
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.formats import dicom
from MedDeepLib.errors import UserError
from MedDeepLib.scene import nodes

from DetectModuleLib.findings import Finding, write_findings
from DetectModuleLib.scene.findings_nodes import FindingsNodes
from DetectModuleLib.task import TASK


def exported(shown: FindingsNodes) -> list[Finding]:
    """The findings that are worth telling: shown at the threshold, and not rejected."""
    return [finding for finding in shown.findings if finding.review != "rejected" and shown.is_shown(finding)]


def export_findings(shown: FindingsNodes, path: str | Path) -> int:
    """Write the findings that are worth telling; returns how many.

    Positions are in the space of the volume, without its parent transform.

    Raises UserError when the file's ending is unknown, it cannot be written, or a report has no DICOM series.
    """
    found = exported(shown)
    volumes = shown.volumes
    write_findings(path, found, dicom_folder(volumes[0]) if volumes else None)
    return len(found)


def dicom_folder(volume: Any) -> Path | None:
    """The folder and series of the DICOM files that a volume was loaded from; None if it was not."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    storage = volume.GetStorageNode()
    if storage is None or not storage.GetFileName() or not dicom.is_dicom(storage.GetFileName()):
        return None
    file = Path(storage.GetFileName()).absolute()
    try:
        header = pydicom.dcmread(file, specific_tags=["SeriesInstanceUID"], stop_before_pixels=True)
        return Path(f"{file.parent}{dicom.SEPARATOR}{header.SeriesInstanceUID}")
    except (OSError, AttributeError, InvalidDicomError):
        return None


@dataclass(frozen=True)
class AddedCase:
    """A case that was added to a list.

    Attributes:
        name: of the case.
        dataset: with it.
        findings: how many it has; 0: it is negative.
        left_out: how many are shown that nobody has reviewed.
    """

    name: str
    dataset: Dataset
    findings: int
    left_out: int


def add_to_dataset(shown: FindingsNodes, path: str | Path) -> AddedCase:
    """Add the volumes with the accepted and drawn findings to a dataset list, to be trained on.

    A case of which everything was rejected is negative: training learns from it that there is nothing to find.

    Raises UserError when nothing was reviewed, the volume is gone, or the list cannot take the case.
    """
    volumes = shown.volumes
    if not volumes:
        raise UserError("The volume of these findings is no longer in the scene: load it, and apply the model again.")
    accepted = [finding for finding in shown.findings if finding.review == "accepted"]
    open_ones = [finding for finding in shown.findings if finding.review == "" and shown.is_shown(finding)]
    if not accepted and open_ones:
        raise UserError(
            "None of the findings was accepted: accept the right ones, or reject all of them to add the case as one "
            "without findings."
        )
    name = volumes[0].GetName()

    def write(folder: Path) -> Mapping[str, Any]:
        boxes = folder / "findings.mrk.json"
        write_findings(boxes, accepted)
        return {"image": _images(volumes, folder), "findings": boxes}

    dataset = add_case(path, name, write, TASK)
    return AddedCase(name, dataset, len(accepted), len(open_ones))


def _images(volumes: Sequence[Any], folder: Path) -> list[Path]:
    """The files of the channels: those beside the list as they are, copies of all others."""
    files = []
    root = folder.parents[1]
    for number, volume in enumerate(volumes, start=1):
        own = nodes.image_from_volume(volume).path
        if own is None or not own.is_relative_to(root):
            own = nodes.write_volume(volume, folder / ("image.nrrd" if len(volumes) == 1 else f"image{number}.nrrd"))
        files.append(own)
    return files
