"""The open Deep Detection panel, and replays of searches whose findings the test makes up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from module_panel import ModulePanel
from replay import Recording, recorded, recorded_run

# Oblique, left-handed, anisotropic.
ROTATION = np.linalg.qr(np.array([[0.98, -0.17, 0.10], [0.19, 0.96, -0.20], [-0.06, 0.21, 0.97]]))[0]
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = ROTATION @ np.diag([-1.5, 1.5, 2.5]) * np.sign(np.linalg.det(ROTATION))
OBLIQUE[:3, 3] = (31.0, -44.0, 12.0)
SHAPE = (40, 36, 24)
CLASSES = ("nodule", "bleed")


class DetectPanel(ModulePanel):
    """The open module with a model that can only be replayed."""

    def __init__(self, host, runs: Path):
        self.run = recorded_run("segment_train", runs / "trained")
        file = self.run / "model" / "configs" / "metadata.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        content["meddeep"] |= {"task": "detect", "method": "retina", "parameters": {}}
        content["meddeep"]["classes"] = [{"name": name} for name in CLASSES]
        content["meddeep"].pop("inputs", None)
        file.write_text(json.dumps(content), encoding="utf-8")
        super().__init__(host, "DetectModule")

    def add_volume(self, name: str = "patient 9", affine=OBLIQUE):
        """A volume node of noise."""
        from MedDeepLib.data.sources.image import Image
        from MedDeepLib.scene import nodes

        values = np.random.default_rng(3).normal(100, 10, SHAPE).astype(np.float32)
        return nodes.volume_from_image(Image(values[None], affine), name)

    def choose(self, volume, findings) -> None:
        """Choose model and volume; Apply will find these."""
        self.choose_model(self.ui.applyModelComboBox, self.run)
        self.section("apply").inputs.selectors[0].setCurrentNode(volume)
        self.replay(apply=detected(findings))

    def apply(self) -> str:
        """Click Apply and wait; the status at the end."""
        self.ui.applyButton.click()
        assert self.is_busy("apply"), self.status("apply")
        said = self.wait("apply")
        self.settle()
        return said

    def settle(self) -> None:
        """Wait until the table is written."""
        review = self.review
        assert self.host.process_events(60, lambda: not review.is_waiting() and not review.table.is_busy())

    @property
    def review(self):
        return self.section("apply").review

    @property
    def shown(self):
        return self.review.shown

    @property
    def points(self):
        return self.shown.points

    def rows(self) -> list[str]:
        """The cells of all rows, class and score first."""
        self.settle()
        table = self.ui.reviewTable
        return [
            " ".join(table.item(row, column).text() for column in range(table.columnCount)).strip()
            for row in range(table.rowCount)
        ]

    def click_row(self, row: int) -> None:
        self.settle()
        self.ui.reviewTable.selectRow(row)

    def visible_points(self) -> list[int]:
        points = self.points
        return [n for n in range(points.GetNumberOfControlPoints()) if points.GetNthControlPointVisibility(n)]

    def said(self) -> str:
        return self.review.status.text


def detected(findings) -> Recording:
    """A search that finds these."""

    def write(folder) -> None:
        from DetectModuleLib.findings import write_findings

        write_findings(folder.path / "findings.mrk.json", findings)

    recording = recorded("segment_apply")
    texts = [json.dumps(event).replace("output.seg.nrrd", "findings.mrk.json") for event in recording.events]
    files = {name: text.replace("output.seg.nrrd", "findings.mrk.json") for name, text in recording.files.items()}
    return replace(recording, events=tuple(map(json.loads, texts)), files=files, write=write)


def some_findings(count: int = 6, affine=OBLIQUE, seed: int = 0) -> list:
    """Findings with scores from high to low, along the axes of the image, in both classes by turns."""
    from DetectModuleLib.findings import Finding
    from MedDeepLib.data.sources.boxes import Box, right_handed

    random = np.random.default_rng(seed)
    axes = right_handed(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    found = []
    for number in range(count):
        index = random.uniform(3, np.array(SHAPE) - 4)
        center = affine[:3, :3] @ index + affine[:3, 3]
        score = 0.95 - 0.9 * number / max(count, 6)
        found.append(Finding(Box(center, random.uniform(4, 12, 3), axes, "", CLASSES[number % 2], score)))
    return found


def worst_corner(boxes, others) -> float:
    """The largest distance in mm of the corners of boxes from those of the others, one by one."""
    distances = [
        np.linalg.norm(box.corners()[:, None] - other.corners()[None], axis=-1).min(axis=1).max()
        for box, other in zip(boxes, others, strict=True)
    ]
    return float(max(distances))
