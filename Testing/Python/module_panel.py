"""A module's open panel, with the actions of a user and what the panel shows."""

from __future__ import annotations

from pathlib import Path

from replay import ReplayLauncher

REPOSITORY = Path(__file__).resolve().parents[2]


class ModulePanel:
    """The open module: one of the extension by its name, or any by its file."""

    def __init__(self, host, module: str | Path):
        self.host = host
        self._module = module if isinstance(module, Path) else REPOSITORY / module / f"{module}.py"
        self.widget = None
        self._launcher = None
        self.open()

    def open(self) -> None:
        self.widget = self.host.load_module(self._module)
        if self._launcher is not None:
            self.widget.logic.launcher = self._launcher

    def replay(self, **plays) -> ReplayLauncher:
        """From now on jobs are replayed, with a recording for each action; also after the panel is opened again."""
        self._launcher = self.widget.logic.launcher = ReplayLauncher(**plays)
        return self._launcher

    @property
    def ui(self):
        return self.widget.ui

    @property
    def parameters(self):
        return self.widget._parameterNode

    def section(self, name: str):
        return getattr(self.widget, f"{name}Section")

    def status(self, name: str) -> str:
        return self.section(name).status.text

    def is_busy(self, name: str) -> bool:
        return self.section(name).monitor.is_busy()

    def wait(self, name: str, seconds: float = 300) -> str:
        """Run the event loop until the section's job has ended; returns its status."""
        assert self.host.process_events(seconds, lambda: not self.is_busy(name)), self.status(name)
        return self.status(name)

    def wait_for_status(self, name: str, text: str, seconds: float = 300) -> None:
        assert self.host.process_events(seconds, lambda: text in self.status(name)), self.status(name)

    def run_folder(self) -> Path:
        return Path(self.ui.trainRunFolderPathLineEdit.currentPath)

    def choose_model(self, combo_box, reference: str | Path) -> None:
        row = combo_box.findData(str(reference))
        assert row > 0, [combo_box.itemText(number) for number in range(combo_box.count)]
        combo_box.currentIndex = row

    def curve(self, name: str) -> list[tuple[float, float]]:
        """The points of one series of the training's chart."""
        chart = self.parameters.trainingChart
        series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
        table = next(node for node in series if node.GetName() == name).GetTableNode().GetTable()
        return [
            (table.GetColumn(0).GetValue(n), table.GetColumn(1).GetValue(n)) for n in range(table.GetNumberOfRows())
        ]
