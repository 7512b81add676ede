"""The part of a segmentation method that the worker uses; declared here, since methods import the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from MedDeepLib.core import Explanation

if TYPE_CHECKING:
    import torch
    from MedDeepLib.training.dense.augmentation import Augmentation


class PatchMethod(Protocol):
    """A network that is trained on patches; see :class:`SegmentModuleLib.method.SegmentationMethod`."""

    name: ClassVar[str]
    title: ClassVar[str]
    parameters: Any
    explanation: Explanation

    def __init__(self, parameters: Any = None): ...

    def network(self, channels: int, classes: int) -> torch.nn.Module: ...

    def fitted(self, size: tuple[int, ...], spacing: tuple[float, ...], device_type: str) -> PatchMethod: ...

    def reasons(self) -> dict[str, str]: ...

    def augmentation(self) -> Augmentation: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def downsampling(self) -> tuple[int, int, int]: ...
