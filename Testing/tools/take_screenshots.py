"""Photograph the Deep Segmentation panel at work, for the README.

    python Testing/tools/take_screenshots.py --run RUN --dataset DATASET.json --volume IMAGE [--output FOLDER]

Everything in the pictures really happens: the model of RUN is applied to the volume, a training of the same method
and parameters is started on the dataset and stopped once its curves can be seen, and the model is evaluated on the
dataset's test cases. The plot is drawn by slicerhost's stand-in of Slicer's plot view.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ("MedDeepExtension", "SegmentModule", "Testing")]

PANEL_WIDTH = 520
PLOT_SIZE = (560, 400)
LONGEST_SECONDS = 1800
POINTS_WORTH_SEEING = 12


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a run that has trained a model")
    parser.add_argument("--dataset", type=Path, required=True, help="its dataset, with test cases")
    parser.add_argument("--volume", type=Path, required=True, help="an image to apply the model to")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "SegmentModule" / "Screenshots")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runs-") as runs:
        os.environ["MEDDEEP_RUNS"] = runs
        photographer = Photographer(str(arguments.run.resolve()), arguments.output)
        photographer.apply(arguments.volume)
        photographer.evaluate(arguments.dataset.resolve())
        photographer.train(arguments.dataset.resolve(), *method_of(arguments.run))
        photographer.close()
    return 0


class Photographer:
    """The open panel and the actions on it."""

    def __init__(self, model: str, output: Path, module: str = "SegmentModule"):
        import slicerhost

        slicerhost.start()
        self.host, self.model, self.output = slicerhost, model, output
        self.panel = slicerhost.load_module(REPOSITORY / module / f"{module}.py")
        self.ui = self.panel.ui

    def apply(self, volume: Path) -> None:
        import slicer

        self._show_only("apply")
        slicer.util.loadVolume(str(volume))
        self.panel.applySection.model_chooser.set_value(self.model)
        self.ui.applyButton.click()
        self._wait(self.panel.applySection, lambda: False)
        self._photograph("apply")

    def evaluate(self, dataset: Path) -> None:
        self._show_only("evaluate")
        self.panel.evaluateSection.model_chooser.set_value(self.model)
        self.ui.evaluateDatasetPathLineEdit.currentPath = str(dataset)
        self.ui.evaluateButton.click()
        self._wait(self.panel.evaluateSection, lambda: False)
        self._photograph("evaluate")

    def train(self, dataset: Path, method: str, parameters: dict) -> None:
        """Begin a training, which is stopped when the panel is closed."""
        self._show_only("train")
        node = self.panel.logic.getParameterNode()
        node.method = method
        node.trainingParameters = json.dumps({method: {**parameters, "validate_every": 20}})
        self.ui.trainDatasetPathLineEdit.currentPath = str(dataset)
        self.ui.trainStartButton.click()
        self._wait(self.panel.trainSection, lambda: _fewest_points(node.trainingChart) >= POINTS_WORTH_SEEING)
        self._photograph("train", node.trainingChart)

    def close(self) -> None:
        self.host.unload_module(self.panel)

    def _show_only(self, shown: str) -> None:
        for name in ("apply", "train", "evaluate", "log"):
            getattr(self.ui, f"{name}CollapsibleButton").collapsed = name != shown

    def _wait(self, section, seen_enough) -> None:
        ended = self.host.process_events(LONGEST_SECONDS, lambda: not section.monitor.is_busy() or seen_enough())
        print(f"{section.title}: {section.status.text}")
        if not ended:
            raise SystemExit(f"{section.title} takes longer than {LONGEST_SECONDS} s")

    def _photograph(self, name: str, chart=None) -> None:
        """The panel at its full height, with a chart on its right."""
        import qt

        self.host.process_events(0.2)
        panel = self.panel.parent
        file = self.host.screenshot(self.panel, self.output / f"{name}.png", (PANEL_WIDTH, 100))
        height = max(panel.minimumSizeHint().height(), panel.heightForWidth(PANEL_WIDTH))
        self.host.screenshot(self.panel, file, (PANEL_WIDTH, height))
        if chart is None:
            return
        left, right = qt.QPixmap(str(file)), self._plot(chart)
        both = qt.QPixmap(left.width() + right.width(), max(left.height(), right.height()))
        both.fill(qt.QColor("white"))
        painter = qt.QPainter(both)
        painter.drawPixmap(0, 0, left)
        painter.drawPixmap(left.width(), 0, right)
        painter.end()
        both.save(str(file))

    def _plot(self, chart):
        import slicer

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode", "plot")
        node.SetPlotChartNodeID(chart.GetID())
        view = slicer.qMRMLPlotView()
        view.setMRMLScene(slicer.mrmlScene)
        view.setMRMLPlotViewNode(node)
        view.resize(*PLOT_SIZE)
        picture = view.grab()
        view.delete()
        return picture


def method_of(run: Path) -> tuple[str, dict]:
    """The method that a run was trained with, and its parameters."""
    from MedDeepLib.jobs import JobFolder

    job = JobFolder(run).job()
    return job.method, dict(job.parameters)


def _fewest_points(chart) -> int:
    """The smallest number of points of the two curves, so that both can be seen."""
    if chart is None or chart.GetNumberOfPlotSeriesNodes() < 2:
        return 0
    return min(chart.GetNthPlotSeriesNode(number).GetTableNode().GetNumberOfRows() for number in range(2))


if __name__ == "__main__":
    sys.exit(main())
