"""Classifying volumes of the scene: the answer is a table node, a row for each class or for the value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from MedDeepLib.core import ApplyItem
from MedDeepLib.data.slots import Source
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Launcher, Worker
from MedDeepLib.scene import nodes
from MedDeepLib.scene.application_jobs import ApplicationJob, application_folder, start_application

from ClassifyModuleLib.task import TASK

_COLUMNS = ("answer", "number", "remark")


class ClassificationJob(ApplicationJob):
    """Applies a model; the answer becomes the rows of a table node.

    Attributes:
        table: the node, None before the end.
    """

    def __init__(self, running: Worker, output: Path, inputs: dict[Path, Any], table: Any):
        """
        Args:
            running: the worker.
            output: the file it writes.
            inputs: the volume nodes by the files that the worker reads.
            table: the node that gets the answer, None for a new one.
        """
        super().__init__(running, inputs)
        self.table = None
        self._output = output
        self._volume_name = next(iter(inputs.values())).GetName()
        # A node's ID, not the node: the user may delete it while the job runs.
        self._table_id = table.GetID() if table is not None else None

    def take_over(self) -> None:
        import slicer

        answer = json.loads(self._output.read_text(encoding="utf-8"))
        into = slicer.mrmlScene.GetNodeByID(self._table_id) if self._table_id else None
        self.table = nodes.table_from_rows(f"{self._volume_name} classification", _COLUMNS, rows_of(answer), into)
        self.notes.append(f"{in_words(answer)} The table '{self.table.GetName()}' says more.")
        words = self.folder.result()["outputs"][0].get("words")
        if words:
            self.notes.append(words)
        if self._table_id and into is None:
            self.notes.append("The output that was chosen is gone, so a new table was made.")


def rows_of(answer: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """The rows of the table: probabilities or the value, then the training cases that resemble this one."""
    rows: list[tuple[str, float | None, str]] = []
    if answer["value"] is not None:
        interval = answer["interval"]
        held = f"90 % of the validation cases: {interval[0]:.4g} to {interval[1]:.4g}" if interval else ""
        rows.append(("value", answer["value"], held))
    for name, probability in answer["probabilities"].items():
        rows.append((name, probability, "probability; the answer" if name == answer["called"] else "probability"))
    for one in answer["nearest"]:
        remark = f"training case, {one['answer']}; the number is the similarity of its features"
        rows.append((str(one["case"]), one["similarity"], remark))
    if answer["unlike"]:
        rows.append(("unlike the training cases", answer["typical"], "share of validation cases as far away"))
    return rows


def in_words(answer: dict[str, Any]) -> str:
    """The answer in a sentence."""
    if answer["value"] is not None:
        return f"The value is {answer['value']:.4g}."
    return f"The class is {answer['called']} (probability {answer['probabilities'][answer['called']]:.2f})."


def start_classification(
    launcher: Launcher,
    volumes: Sequence[Any],
    model: str | Path,
    table: Any = None,
    device: str = "auto",
    options: dict[str, Any] | None = None,
    replace: bool = False,
) -> ClassificationJob:
    """Apply a model to volumes of the scene.

    Args:
        launcher: starts the worker.
        volumes: volume nodes, one for each input channel of the model.
        model: a run folder, a model folder, or the name of a released model.
        table: the node that the answer goes into; a new one when None.
        device: auto, cpu, cuda:N or mps.
        options: the method's apply parameters by name.
        replace: whether rows that ``table`` has already may be replaced.

    Raises UserError when an argument is wrong; nothing has been started then.
    """
    if not volumes or any(volume is None for volume in volumes):
        raise UserError("Applying needs a volume for every input channel of the model: choose them.")
    if table is not None and not replace and table.GetTable().GetNumberOfRows():
        raise UserError(
            f"The table {table.GetName()} has rows already: choose another one, or allow to replace them."
        )
    with application_folder(TASK.name) as folder:
        output = folder / "output.json"
        files = [nodes.volume_to_file(volume, folder / "input") for volume in volumes]
        item = ApplyItem({"image": Source("image", tuple(files))}, {"answer": str(output)})
        running = start_application(launcher, folder, TASK.name, model, item, device, options)
    return ClassificationJob(running, output, dict(zip(files, volumes, strict=True)), table)
