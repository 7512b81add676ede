"""One case to apply a model to, by its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ApplyItem:
    """The files of one case.

    Attributes:
        images: a file or DICOM folder per channel; the fixed image where two are registered.
        output: the file to write.
        inputs: further files by what they are, each a list: "moving", "initial", "labels".
        outputs: further files to write, by what they are: "volume", "inverse", "labels".
    """

    images: tuple[str, ...]
    output: str
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def files_read(self) -> tuple[str, ...]:
        return (*self.images, *(file for files in self.inputs.values() for file in files))

    @property
    def files_written(self) -> tuple[str, ...]:
        return (self.output, *self.outputs.values())
