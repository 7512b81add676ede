"""One image of a case with its label map and landmarks, whether it stands alone or is the fixed or moving one of a
pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MedDeepLib.data.readers.entries import own_name
from MedDeepLib.data.slots import Case, Source


@dataclass(frozen=True)
class Side:
    """One image of a case.

    Attributes:
        name: of the case; a moving image is named after its file.
        images: a file or DICOM folder per channel; none where there is only a label map to paint from.
        label: its structures.
        landmarks: its named points.
        patient: the one that the case counts for.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    landmarks: Path | None = None
    patient: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files; equal for one image that several cases list."""
        return (*self.images, *(file for file in (self.label, self.landmarks) if file))


def is_pair(case: Case) -> bool:
    """Whether a case lists a fixed and a moving image."""
    return "fixed" in case.inputs


def sides(case: Case) -> tuple[Side, ...]:
    """The fixed and the moving image of a pair, or the single image of a case."""
    return (fixed_side(case), moving_side(case)) if is_pair(case) else (fixed_side(case),)


def fixed_side(case: Case) -> Side:
    """The fixed image of a pair, or the single image of a case."""
    image, prefix = ("fixed", "fixed_") if is_pair(case) else ("image", "")
    return Side(
        case.name, case.files(image), _one(case, f"{prefix}label"), _one(case, f"{prefix}landmarks"), case.patient)


def moving_side(case: Case) -> Side:
    """The moving image of a pair."""
    images = case.files("moving")
    return Side(own_name(images[0]), images, _one(case, "moving_label"), _one(case, "moving_landmarks"))


def paired(fixed: Case, moving: Case) -> Case:
    """The pair of two single images, which counts for the moving image's patient."""
    inputs = {"fixed": fixed.inputs["image"], "moving": moving.inputs["image"]}
    targets: dict[str, Source] = {
        f"{prefix}_{name}": case.targets[name]
        for prefix, case in (("fixed", fixed), ("moving", moving))
        for name in ("label", "landmarks")
        if name in case.targets
    }
    if "transform" in fixed.targets:
        targets["transform"] = fixed.targets["transform"]
    patients = tuple(dict.fromkeys((*moving.patients, *fixed.patients)))
    return Case(f"{moving.name} to {fixed.name}", inputs, targets, patients, moving.site)


def _one(case: Case, slot: str) -> Path | None:
    return next(iter(case.files(slot)), None)
