"""One case to apply a model to: where its inputs come from, and where its outputs go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from MedDeepLib.data.slots import Source


@dataclass(frozen=True)
class ApplyItem:
    """One case of an application::

        ApplyItem({"image": Source("image", (Path("t1.nrrd"), Path("t2.nrrd")))}, {"segmentation": "brain.seg.nrrd"})

    Attributes:
        inputs: by the names of the task's input slots; optional ones may be left out.
        outputs: the files to write, by the names of the task's output slots; the first slot's is always there.
    """

    inputs: Mapping[str, Source]
    outputs: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name in messages: that of its first file."""
        return next((Path(file).name for file in self.files_read), "case")

    @property
    def output(self) -> str:
        """The first output."""
        return next(iter(self.outputs.values()))

    @property
    def files_read(self) -> tuple[str, ...]:
        """All input files, in the order of the inputs."""
        return tuple(str(file) for source in self.inputs.values() for file in source.files)

    @property
    def files_written(self) -> tuple[str, ...]:
        """All output files, in the order of the outputs."""
        return tuple(self.outputs.values())

    @property
    def paths(self) -> dict[str, Path]:
        """The outputs as :meth:`MedDeepLib.core.Prediction.save` takes them."""
        return {name: Path(file) for name, file in self.outputs.items()}
