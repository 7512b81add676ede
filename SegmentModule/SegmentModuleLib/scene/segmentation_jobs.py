"""Segmenting volumes of the scene: the result is the segments of a segmentation node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from MedDeepLib.core import ApplyItem
from MedDeepLib.data.slots import Source
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Launcher, Worker
from MedDeepLib.scene import nodes
from MedDeepLib.scene.application_jobs import ApplicationJob, application_folder, start_application

from SegmentModuleLib.task import TASK


class SegmentationJob(ApplicationJob):
    """Applies a model; the result becomes the segments of a segmentation node.

    Attributes:
        segmentation: the node, None before the end.
    """

    def __init__(self, running: Worker, output: Path, inputs: dict[Path, Any], segmentation: Any):
        """
        Args:
            running: the worker.
            output: the file it writes.
            inputs: the volume nodes by the files that the worker reads.
            segmentation: the node that gets the result, None for a new one.
        """
        super().__init__(running, inputs)
        self.segmentation = None
        self._output = output
        volume = next(iter(inputs.values()))
        self._volume_name = volume.GetName()
        # Node IDs, not nodes: the user may delete them while the job runs.
        self._volume_id = volume.GetID()
        self._segmentation_id = segmentation.GetID() if segmentation is not None else None

    def take_over(self) -> None:
        import slicer

        volume = slicer.mrmlScene.GetNodeByID(self._volume_id)
        into = slicer.mrmlScene.GetNodeByID(self._segmentation_id) if self._segmentation_id else None
        name = None if into is not None else f"{self._volume_name} segmentation"
        self.segmentation = nodes.segmentation_from_file(self._output, name, volume, into)
        self.segmentation.GetDisplayNode().SetVisibility(True)
        count = self.segmentation.GetSegmentation().GetNumberOfSegments()
        structures = "1 structure is" if count == 1 else f"{count} structures are"
        self.notes.append(f"{structures} in '{self.segmentation.GetName()}'.")
        words = self.folder.result()["outputs"][0].get("words")
        if words:
            self.notes.append(words)
        if self._segmentation_id and into is None:
            self.notes.append("The output that was chosen is gone, so a new segmentation was made.")
        if volume is None:
            self.notes.append("The input is gone: the segmentation lies where it was without its transforms.")


def start_segmentation(
    launcher: Launcher,
    volumes: Sequence[Any],
    model: str | Path,
    segmentation: Any = None,
    device: str = "auto",
    options: dict[str, Any] | None = None,
    replace: bool = False,
) -> SegmentationJob:
    """Apply a model to volumes of the scene.

    Args:
        launcher: starts the worker.
        volumes: volume nodes, one for each input channel of the model.
        model: a run folder, a model folder, or the name of a released model.
        segmentation: the node that the result goes into; a new one when None.
        device: auto, cpu, cuda:N or mps.
        options: the method's apply parameters by name.
        replace: whether segments that ``segmentation`` has already may be replaced.

    Raises UserError when an argument is wrong; nothing has been started then.
    """
    if not volumes or any(volume is None for volume in volumes):
        raise UserError("Applying needs a volume for every input channel of the model: choose them.")
    if segmentation is not None and not replace and segmentation.GetSegmentation().GetNumberOfSegments():
        raise UserError(
            f"The segmentation {segmentation.GetName()} has segments already: choose another one, or allow to "
            "replace them."
        )
    with application_folder(TASK.name) as folder:
        output = folder / "output.seg.nrrd"
        files = [nodes.volume_to_file(volume, folder / "input") for volume in volumes]
        item = ApplyItem({"image": Source("image", tuple(files))}, {"segmentation": str(output)})
        running = start_application(launcher, folder, TASK.name, model, item, device, options)
    return SegmentationJob(running, output, dict(zip(files, volumes, strict=True)), segmentation)
