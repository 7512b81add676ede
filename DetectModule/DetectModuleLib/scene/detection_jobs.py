"""Searching volumes of the scene: the result is a point list with a table, see ``findings_nodes``."""

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

from DetectModuleLib.findings import read_findings
from DetectModuleLib.scene.findings_nodes import MOST_BOXES, FindingsNodes
from DetectModuleLib.task import TASK


class DetectionJob(ApplicationJob):
    """Applies a model; what it finds becomes a point list with a table, and ROIs for the highest scores.

    Attributes:
        points: the point list, None before the end; read it with :class:`FindingsNodes`.
        wanted: whether the result is to go into the scene; set it to False when that scene is closed.
    """

    def __init__(self, running: Worker, output: Path, inputs: dict[Path, Any], points: Any, boxes: int):
        """
        Args:
            running: the worker.
            output: the file it writes.
            inputs: the volume nodes by the files that the worker reads.
            points: the point list whose findings are replaced, None for a new one.
            boxes: how many findings get a ROI.
        """
        super().__init__(running, inputs)
        self.points: Any = None
        self.wanted = True
        self._output, self._boxes = output, boxes
        self._name = next(iter(inputs.values())).GetName()
        # Node IDs, not nodes: the user may delete them while the job runs.
        self._volume_ids = [volume.GetID() for volume in inputs.values()]
        self._points_id = points.GetID() if points is not None else None

    def take_over(self) -> None:
        import slicer

        if not self.wanted:
            return
        found = read_findings(self._output)
        volumes = [slicer.mrmlScene.GetNodeByID(node_id) for node_id in self._volume_ids]
        into = slicer.mrmlScene.GetNodeByID(self._points_id) if self._points_id else None
        present = [volume for volume in volumes if volume is not None]
        shown = FindingsNodes.make(f"{self._name} findings", found, present, into)
        shown.show_boxes(self._boxes)
        shown.close()
        self.points = shown.points
        count = "Nothing was found" if not found else "1 finding" if len(found) == 1 else f"{len(found)} findings"
        verb = "" if not found else " is" if len(found) == 1 else " are"
        self.notes.append(f"{count}{verb} in '{self.points.GetName()}'." if found else f"{count} in '{self._name}'.")
        words = self.folder.result()["outputs"][0].get("words")
        if words:
            self.notes.append(words)
        if self._points_id and into is None:
            self.notes.append("The output that was chosen is gone, so a new one was made.")
        if len(present) < len(volumes):
            self.notes.append("The input is gone: the findings lie where it was without its transforms.")


def start_detection(
    launcher: Launcher,
    volumes: Sequence[Any],
    model: str | Path,
    points: Any = None,
    device: str = "auto",
    options: dict[str, Any] | None = None,
    replace: bool = False,
    boxes: int = MOST_BOXES,
) -> DetectionJob:
    """Apply a model to volumes of the scene.

    Args:
        launcher: starts the worker.
        volumes: volume nodes, one for each input channel of the model.
        model: a run folder, a model folder, or the name of a released model.
        points: the point list that the findings go into; a new one when None.
        device: auto, cpu, cuda:N or mps.
        options: the method's apply parameters by name.
        replace: whether findings that ``points`` has already may be replaced.
        boxes: how many findings, those with the highest scores, get a ROI.

    Raises UserError when an argument is wrong; nothing has been started then.
    """
    if not volumes or any(volume is None for volume in volumes):
        raise UserError("Applying needs a volume for every input channel of the model: choose them.")
    if points is not None and not replace and points.GetNumberOfControlPoints():
        raise UserError(
            f"The point list '{points.GetName()}' has findings already: choose another one, or allow to replace them."
        )
    with application_folder(TASK.name) as folder:
        output = folder / "findings.mrk.json"
        files = [nodes.volume_to_file(volume, folder / "input") for volume in volumes]
        item = ApplyItem({"image": Source("image", tuple(files))}, {"findings": str(output)})
        running = start_application(launcher, folder, TASK.name, model, item, device, options)
    return DetectionJob(running, output, dict(zip(files, volumes, strict=True)), points, boxes)
