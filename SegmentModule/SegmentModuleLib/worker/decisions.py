"""The decisions for a training before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from SegmentModuleLib.worker.fingerprint import Fingerprint
from SegmentModuleLib.worker.memory import Need
from SegmentModuleLib.worker.patch_method import PatchMethod


@dataclass(frozen=True)
class Configuration:
    """A method with all parameters decided, and the facts behind the decisions.

    Attributes:
        requested: as the user set it, with automatic parameters.
        method: with all parameters decided.
        images: the training images.
        need: counts the memory and operations of the training.
        free_bytes, budget_bytes: what the device has, and how much of it the training was planned for.
        is_whole: whether a patch covers a typical image.
        limit: what limits the patch size: "memory" or "speed"; "" if it is the image, or the user's choice.
    """

    requested: PatchMethod
    method: PatchMethod
    images: Fingerprint
    need: Need
    free_bytes: int
    budget_bytes: int
    is_whole: bool
    limit: str
