"""The home panel and the scene: what is saved with it, and that nothing runs on when it should not."""

from __future__ import annotations

import pytest


@pytest.fixture
def filled(panel, make_job, trained):
    """The panel with two jobs and a model; the older job is chosen."""
    panel.old = make_job("old", ("state", {"state": "stopped"})).path
    make_job("new", ("state", {"state": "stopped"}))
    panel.look()
    panel.choose("jobs", panel.old)
    panel.choose("models", trained / "model")
    return panel


def test_the_choice_is_in_the_parameter_node(filled, trained):
    assert filled.parameters.selectedJob == str(filled.old)
    assert filled.parameters.selectedModel == str(trained / "model")
    filled.parameters.selectedJob = str(trained)
    filled.settle()
    assert filled.home.jobs.chosen().folder.path == trained
    filled.parameters.jobOrder = "name"
    filled.settle()
    assert [key.rsplit("/", 1)[1] for key in filled.home.jobs.table.row_keys()] == ["new", "old", "trained"]
    filled.parameters.jobOrder = "no such column"
    filled.settle()
    assert filled.home.jobs.table.order.value() == "-begun"


def test_closing_the_scene_keeps_the_choice(filled):
    filled.parameters.jobOrder = "title"
    filled.host.close_scene()
    assert filled.parameters.selectedJob == str(filled.old) and filled.parameters.jobOrder == "title"
    assert filled.home.jobs.chosen().folder.path == filled.old
    filled.choose("jobs", filled.old.with_name("new"))
    assert filled.parameters.selectedJob.endswith("new"), "bound to the new parameter node"


def test_saving_and_loading_the_scene(filled, tmp_path):
    import slicer

    file = tmp_path / "scene.mrml"
    assert slicer.util.saveScene(str(file))
    filled.choose("jobs", filled.old.with_name("new"))
    slicer.util.loadScene(str(file))
    filled.look()
    assert filled.parameters.selectedJob == str(filled.old)
    assert filled.home.jobs.chosen().folder.path == filled.old


def test_a_choice_that_is_gone_is_none(filled):
    filled.parameters.selectedJob = "/not/on/this/computer"
    filled.look()
    assert filled.home.jobs.chosen() is None and filled.parameters.selectedJob == ""
    assert filled.ui.jobsDeleteButton.toolTip == "Choose a job in the table."


def test_reloading_the_module(filled):
    first = filled.home
    filled.host.unload_module(filled.widget)
    assert not first.is_looking() and not first.is_busy()
    filled.host.process_events(1.2)
    filled.open()
    filled.settle()
    assert len(filled.home.jobs.table.row_keys()) == 3


def test_another_runs_folder(panel, make_job, tmp_path, monkeypatch):
    from MedDeepLib.scene import runs

    job = make_job("old", ("state", {"state": "stopped"}))
    panel.look()
    assert panel.ui.runsFolderButton.directory == str(job.path.parent)
    assert not panel.ui.runsFolderButton.enabled and "MEDDEEP_RUNS" in panel.ui.runsFolderButton.toolTip

    monkeypatch.delenv("MEDDEEP_RUNS")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    (other / "images" / "a.nrrd").write_bytes(bytes(3_000_000))
    panel.look()
    assert panel.ui.runsFolderButton.enabled and panel.home.jobs.table.row_keys() == []
    with panel.host.answers(str(other)):
        panel.ui.runsFolderButton.browse()
    panel.settle()
    assert runs.runs_folder() == other and panel.ui.runsSizeLabel.text == "3 MB in all"
    assert panel.home.jobs.table.row_keys() == []
    with panel.host.answers(str(job.path.parent)):
        panel.ui.runsFolderButton.browse()
    panel.settle()
    assert panel.home.jobs.table.row_keys() == [str(job.path)]

    with panel.host.answers(str(tmp_path / "nowhere")):
        panel.ui.runsFolderButton.browse()
    assert "cannot be written" in panel.ui.runsStatusLabel.text.replace("\u200b", "")
    assert runs.runs_folder() == job.path.parent and panel.ui.runsFolderButton.directory == str(job.path.parent)
