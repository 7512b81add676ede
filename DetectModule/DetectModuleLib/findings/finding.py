"""A finding: what a detection method, or a user, says of one place in an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from MedDeepLib.data.sources.boxes import Box

REVIEWS = ("", "accepted", "rejected")


@dataclass(frozen=True, eq=False)
class Mask:
    """The voxels of a finding on the grid of its image.

    Attributes:
        voxels: (N, 3) indices i, j, k.
        affine: 4x4, IJK to RAS mm.
    """

    voxels: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True, eq=False)
class Finding:
    """One finding.

    Attributes:
        box: around it, with class and score; see :class:`MedDeepLib.data.sources.boxes.Box`.
        mask: its voxels, where the method knows them.
        review: what the user said of it: "", "accepted" or "rejected".
        facts: further numbers by name ("Agatston score"), kept in every format.
    """

    box: Box
    mask: Mask | None = None
    review: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        return self.box.class_name

    @property
    def score(self) -> float:
        """From 0 to 1; 1 for what was drawn by hand."""
        return 1.0 if self.box.score is None else self.box.score

    @property
    def diameter(self) -> float:
        """The mean length of the edges of its box, in mm."""
        return float(self.box.size.mean())
