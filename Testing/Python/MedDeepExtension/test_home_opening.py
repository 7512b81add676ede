"""The home panel opens quickly, without torch and the worker's packages, and at its place in Slicer's menus."""

from __future__ import annotations

import pytest
from opening import REPOSITORY, check_opening, open_in_new_process, packages_of_the_worker

MODULE = REPOSITORY / "MedDeepExtension" / "MedDeepExtension.py"


@pytest.mark.alone
def test_opens_quickly_and_without_torch(tmp_path):
    check_opening(MODULE, tmp_path)


def test_opens_before_any_package_has_been_installed(tmp_path):
    open_in_new_process(MODULE, tmp_path, *packages_of_the_worker())


def test_what_slicer_shows_of_the_module(panel):
    import slicer

    module = slicer.modules.meddeepextension
    assert module.title == "Deep Learning Jobs and Models"
    assert list(module.categories) == ["Utilities"]
    assert "Research use only" in module.helpText
    assert not module.icon.isNull()


def test_an_empty_folder_is_explained(panel):
    ui = panel.ui
    assert ui.jobsEmptyLabel.isVisibleTo(panel.widget.parent) and not ui.jobsTable.isVisibleTo(panel.widget.parent)
    assert ui.modelsEmptyLabel.isVisibleTo(panel.widget.parent)
    for name in ("Stop", "Resume", "Curves", "Log", "Folder", "Delete"):
        button = getattr(ui, f"jobs{name}Button")
        assert not button.enabled and button.toolTip == "Choose a job in the table."
    for name in ("Export", "Folder", "Delete"):
        button = getattr(ui, f"models{name}Button")
        assert not button.enabled and button.toolTip == "Choose a model in the table."
    for name in ("Up", "Down"):
        assert getattr(ui, f"devices{name}Button").toolTip == "Choose a job that waits for a device."


def test_the_self_test_of_the_module_passes(panel):
    import MedDeepExtension

    MedDeepExtension.MedDeepExtensionTest().runTest()


def test_the_logic_does_without_the_panel(panel, make_job, trained):
    folder = make_job("old", ("state", {"state": "failed", "message": "The disk is full."}))
    logic = panel.widget.logic
    assert [job.folder.path.name for job in logic.jobs()] == ["old", "trained"]
    assert [model.run for model in logic.models()] == [trained]
    logic.deleteJob(folder.path)
    assert [job.folder.path.name for job in logic.jobs()] == ["trained"]
