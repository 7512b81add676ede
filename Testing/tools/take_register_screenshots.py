"""Photograph the Deep Registration panel at work, for the README.

    python Testing/tools/take_register_screenshots.py --fixed IMAGE --moving IMAGE --dataset DATASET.json
        [--steps 30] [--output FOLDER]

Everything in the pictures really happens: the released model registers the two images, and Slicer's slice views show
the result beside the panel, blended and as a checkerboard; it is evaluated on the dataset's test pairs, and a training
on the dataset is started and stopped once its curves can be seen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from take_screenshots import REPOSITORY, Photographer  # noqa: E402

sys.path.insert(0, str(REPOSITORY / "RegisterModule"))
VIEW_SIZE = (400, 400)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fixed", type=Path, required=True)
    parser.add_argument("--moving", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True, help="images to train with, and test pairs or an atlas")
    parser.add_argument("--model", default="brain", help="%(default)s")
    parser.add_argument("--steps", type=int, default=30, help="of the instance optimisation (%(default)s)")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "RegisterModule" / "Screenshots")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runs-") as runs:
        os.environ["MEDDEEP_RUNS"] = runs
        photographer = RegisterPhotographer(arguments.model, arguments.output, "RegisterModule")
        photographer.register(arguments.fixed, arguments.moving, arguments.steps)
        photographer.evaluate(arguments.dataset.resolve())
        photographer.train(arguments.dataset.resolve(), "morph", {"point_steps": 0})
        photographer.close()
    return 0


class RegisterPhotographer(Photographer):
    """The open panel, and two images that it aligns."""

    def register(self, fixed: Path, moving: Path, steps: int) -> None:
        import slicer

        self._show_only("apply")
        section = self.panel.applySection
        section.model_chooser.set_value(self.model)
        for path, chooser in ((fixed, section.fixed), (moving, section.moving)):
            chooser.selectors[0].setCurrentNode(slicer.util.loadVolume(str(path)))
        self.panel.logic.getParameterNode().applyOptions = json.dumps({"steps": steps})
        self.ui.applyCheckerboardCheckBox.click()
        self.ui.applyButton.click()
        self._wait(section, lambda: False)
        print(self.ui.applyFiguresLabel.text)
        self._photograph("apply")
        views = [self._slices()]
        self.ui.compareComboBox.currentIndex = self.ui.compareComboBox.findData("checkerboard")
        self._beside("apply", [*views, self._slices()])

    def _slices(self) -> Path:
        """A picture of a coronal slice as the slice views of the scene currently show it."""
        import slicer
        from MedDeepLib.scene.views import SliceView

        shown = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
        view = SliceView(f"Photograph{shown.GetForegroundOpacity()}", "Coronal", VIEW_SIZE)
        view.show(slicer.mrmlScene.GetNodeByID(shown.GetBackgroundVolumeID()), (0, -20, 10))
        composite = view.logic.GetSliceCompositeNode()
        composite.SetForegroundVolumeID(shown.GetForegroundVolumeID() or "")
        composite.SetForegroundOpacity(shown.GetForegroundOpacity())
        path = Path(tempfile.mkstemp(suffix=".png")[1])
        view.save_png(path)
        view.close()
        return path

    def _beside(self, name: str, pictures: list[Path]) -> None:
        import qt

        file = self.output / f"{name}.png"
        left, parts = qt.QPixmap(str(file)), [qt.QPixmap(str(path)) for path in pictures]
        height = max(left.height(), sum(part.height() for part in parts))
        both = qt.QPixmap(left.width() + parts[0].width(), height)
        both.fill(qt.QColor("black"))
        painter = qt.QPainter(both)
        painter.drawPixmap(0, 0, left)
        top = 0
        for part in parts:
            painter.drawPixmap(left.width(), top, part)
            top += part.height()
        painter.end()
        both.save(str(file))


if __name__ == "__main__":
    sys.exit(main())
