"""The open panel, and the command line of register.py with the worker in this process."""

from __future__ import annotations

import json

import numpy as np
import pytest
import toy_pairs
from module_panel import ModulePanel


@pytest.fixture
def register(monkeypatch, capsys):
    """Runs Scripts/register.py: exit code, standard output, errors."""
    from MedDeepLib.cli import command_line
    from toy_cases import finished_job

    monkeypatch.setattr(command_line, "launch", finished_job)

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = command_line.main("register", [str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse, for bad usage and help
            code = leaving.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(register, tmp_path):
    """Runs a registration that must be refused and returns the error sentence; checks that nothing was written."""

    def run(fixed, moving, *options, model="global") -> str:
        output = tmp_path / "refused.h5"
        code, _, errors = register(
            *("apply", "--model", model, "--fixed", fixed, "--moving", moving),
            *("--output-transform", output, "--device", "cpu"),
            *options,
        )  # fmt: skip
        lines = [line for line in errors.splitlines() if line.startswith("Error:")]
        assert code == 2, errors
        assert len(lines) == 1 and "Traceback" not in errors and lines[0].endswith(".")
        assert not output.exists()
        return lines[0]

    return run


class RegisterPanel(ModulePanel):
    """The open module, with volumes of the toy body in the scene."""

    def __init__(self, host):
        super().__init__(host, "RegisterModule")

    def add_volume(self, name: str, grid: str, to_body=lambda points: points, values=toy_pairs.body):
        """The toy body on one of the toy grids as a volume node."""
        from MedDeepLib.data.sources.image import Image
        from MedDeepLib.scene import nodes

        array = 1000 * toy_pairs.draw(grid, to_body, values).astype(np.float32)
        return nodes.volume_from_image(Image(array[None], toy_pairs.GRIDS[grid][0]), name)

    def choose(self, model: str, fixed, moving, **options) -> None:
        """Fill in the Apply section."""
        self.choose_model(self.ui.applyModelComboBox, model)
        self.section("apply").fixed.selectors[0].setCurrentNode(fixed)
        self.section("apply").moving.selectors[0].setCurrentNode(moving)
        self.parameters.applyOptions = json.dumps(options)

    def apply(self) -> str:
        """Click Apply and wait; the status at the end."""
        self.ui.applyButton.click()
        assert self.is_busy("apply"), self.status("apply")
        return self.wait("apply")

    def transforms(self) -> list:
        """The transform nodes that the user sees, without those of the slice views."""
        import slicer

        return [n for n in slicer.util.getNodesByClass("vtkMRMLTransformNode") if not n.GetHideFromEditors()]


@pytest.fixture
def panel(host, tmp_path, monkeypatch) -> RegisterPanel:
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return RegisterPanel(host)
