"""Jobs in the home panel, by clicking: progress, stop, resume and delete, whichever program started them."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import toy_replays
from heartbeat import LONGEST_GAP, Heartbeat, worker_processes
from replay import recorded, step

LIBRARY = Path(__file__).resolve().parents[3] / "MedDeepExtension"
DEAF_WORKER = """
import sys, time
from MedDeepLib.jobs import JobFolder
from MedDeepLib.jobs.events import EventWriter
folder = JobFolder(sys.argv[1])
folder.register_worker()
EventWriter(folder.events_file)("state", state="running")
time.sleep(60)
"""


def state(panel, folder) -> str:
    return panel.row("jobs", folder.path)["State"]


@pytest.mark.alone
def test_a_job_of_another_program_is_followed_and_stopped(panel, running):
    job = running(steps=3000, validate_every=10)
    heartbeat = Heartbeat()
    heartbeat.start()
    panel.wait(lambda: panel.home.jobs.chosen() is not None and panel.home.jobs.details.has_metrics())
    panel.wait(lambda: isinstance(panel.row("jobs", job.folder.path)["Progress"], int))
    assert state(panel, job.folder) == "running"
    before = panel.home.jobs.details.summary.progress["step"]
    panel.wait(lambda: panel.home.jobs.details.summary.progress["step"] > before)
    panel.wait(lambda: panel.row("jobs", job.folder.path)["Time left"] != "")
    details = panel.text("jobsDetails")
    for words in ("train unet", "running; Training: unet", " of 3000", "cpu, 1 thread", "loss ", str(job.folder.path)):
        assert words in details, details
    # The job that holds the CPU is the same one.
    tree = panel.ui.devicesTree
    cpu = tree.topLevelItem(tree.topLevelItemCount - 1)
    assert cpu.child(0).text(0) == "train unet" and f"process {job.pid}" in cpu.child(0).text(1)

    assert not panel.ui.jobsResumeButton.enabled and panel.ui.jobsResumeButton.toolTip == "It is running."
    assert not panel.ui.jobsDeleteButton.enabled and "stop it first" in panel.ui.jobsDeleteButton.toolTip
    panel.ui.jobsStopButton.click()
    assert not panel.ui.jobsStopButton.enabled and "already" in panel.ui.jobsStopButton.toolTip
    panel.wait(lambda: panel.status("jobs") == "training has stopped.")
    panel.wait(lambda: state(panel, job.folder) == "stopped")
    assert heartbeat.stop() < LONGEST_GAP
    assert job.wait(20) == 130 and not worker_processes(job.folder.path)
    assert panel.ui.jobsResumeButton.enabled and not panel.ui.jobsStopButton.enabled


def test_a_worker_that_ignores_the_request_is_ended(panel, make_job, monkeypatch):
    from MedDeepLib.jobs.stopping import Stopping
    from MedDeepLib.panels.home import jobs as home_jobs

    monkeypatch.setattr(home_jobs, "Stopping", partial(Stopping, grace_seconds=0.5))
    folder = make_job("deaf")
    environment = dict(os.environ, PYTHONPATH=str(LIBRARY))
    worker = subprocess.Popen([sys.executable, "-c", DEAF_WORKER, str(folder.path)], env=environment)
    try:
        panel.wait(lambda: panel.home.jobs.overviews and panel.home.jobs.overviews[0].alive)
        panel.choose("jobs", folder.path)
        panel.ui.jobsStopButton.click()
        panel.wait(lambda: panel.status("jobs") == "deaf did not stop in time and was ended.", 20)
        assert worker.wait(10) != 0
        panel.wait(lambda: state(panel, folder) == "failed")
        assert "It did not stop in time and was ended." in panel.text("jobsDetails")
    finally:
        worker.kill()
        worker.wait(10)


def test_a_killed_training_is_offered_and_resumed(interrupted, panel, launcher):
    launcher.plays["train"] = toy_replays.trained()
    assert state(panel, interrupted) == "failed"
    assert panel.status("jobs") == "One training did not finish: choose it and press Resume."
    assert panel.home.jobs.chosen().folder.path == interrupted.path, "the newest one is chosen"
    assert "Its worker ended without a message" in panel.text("jobsDetails")
    panel.ui.jobsResumeButton.click()
    assert not panel.ui.jobsResumeButton.enabled, "a second worker would spoil the first one's work"
    panel.wait(lambda: panel.status("jobs") == "killed is done.", 120)
    panel.wait(lambda: state(panel, interrupted) == "done")
    panel.settle()
    assert "in all" in panel.text("jobsDetails") and "of CPU time" in panel.text("jobsDetails")
    assert [entry.run for entry in panel.home.models.entries] == [interrupted.path]
    assert panel.row("models", interrupted.model_folder)["Task"] == "segment"


def test_what_was_resumed_here_is_stopped_by_its_button(interrupted, panel, launcher):
    launcher.hold(step(40))
    panel.ui.jobsResumeButton.click()
    panel.wait(lambda: state(panel, interrupted) == "running")
    panel.ui.jobsStopButton.click()
    panel.wait(lambda: panel.status("jobs") == "killed has stopped.")
    assert not launcher.workers[-1].is_running()


@pytest.mark.parametrize("how", ["close", "quit"])
def test_the_end_of_the_panel_ends_what_was_resumed_here(interrupted, panel, launcher, how):
    launcher.hold(step(40))
    panel.ui.jobsResumeButton.click()
    assert launcher.workers[-1].is_running()
    panel.close() if how == "close" else panel.host.quit_application()
    assert not launcher.workers[-1].is_running()
    assert interrupted.has_checkpoint()


def test_closing_the_scene_stops_what_was_resumed_here_and_nothing_else(interrupted, panel, launcher, elsewhere):
    launcher.hold(step(40))
    panel.ui.jobsResumeButton.click()
    other = elsewhere("other")
    other.play_until(step(5))
    assert launcher.workers[-1].is_running()
    panel.host.close_scene()
    panel.wait(lambda: not panel.home.jobs.resumed.is_busy(), 30)
    assert not launcher.workers[-1].is_running() and other.is_running() and not other.folder.stop_requested()
    panel.look()
    assert panel.row("jobs", other.folder.path)["State"] == "running"


def test_resume_says_why_it_cannot(panel, make_job, launcher):
    make_job("evaluation", ("state", {"state": "failed", "message": "No test cases."}), action="evaluate")
    fresh = make_job("early", ("state", {"state": "running"}), ("state", {"state": "stopped"}))
    panel.look()
    panel.choose("jobs", fresh.path.with_name("evaluation"))
    reason = "Only trainings and cohorts can be resumed: start it again from its own panel."
    assert panel.ui.jobsResumeButton.toolTip == reason
    assert "No test cases." in panel.text("jobsDetails")
    panel.choose("jobs", fresh.path)
    assert panel.ui.jobsResumeButton.enabled and "from the beginning" in panel.ui.jobsResumeButton.toolTip
    launcher.plays["train"] = recorded("segment_train_missing")
    panel.ui.jobsResumeButton.click()
    panel.wait(lambda: "missing.json does not exist" in panel.status("jobs"), 60)
    assert panel.status("jobs").startswith("early: ")


def test_curves_grow_while_a_job_runs(panel, elsewhere):
    import slicer

    job = elsewhere("training")
    job.play_until(step(10))
    panel.wait(lambda: panel.home.jobs.details.has_metrics())
    panel.ui.jobsCurvesButton.click()
    chart = slicer.util.getNode("training curves")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == chart.GetID()
    panel.wait(lambda: points(chart, "loss") > 3)
    before = points(chart, "loss")
    job.play_until(step(43))
    panel.wait(lambda: points(chart, "loss") > before and points(chart, "validation Dice") > 1)
    panel.ui.jobsCurvesButton.click()
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 1, "the chart is used again"

    panel.widget.exit()  # the plot stays visible while another module is shown
    before = points(chart, "loss")
    job.play_until(step(50))
    panel.wait(lambda: points(chart, "loss") > before)
    panel.widget.enter()

    job.stop()
    job.play()
    panel.wait(lambda: not panel.home.jobs.curves.is_following(), 30)
    assert points(chart, "loss") == sum(e["event"] == "metrics" and "loss" in e["values"] for e in job.folder.events())
    panel.host.close_scene()
    panel.ui.jobsCurvesButton.click()
    panel.wait(lambda: points(slicer.util.getNode("training curves"), "loss") == before or True)
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 1


def points(chart, name: str) -> int:
    series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
    return sum(node.GetTableNode().GetNumberOfRows() for node in series if node.GetName() == name)


def test_delete_asks_and_says_what_is_lost(asked, trained):
    import qt

    panel = asked
    (trained / "anna.nrrd").write_text("an image of the user's", encoding="utf-8")
    panel.look()
    panel.choose("jobs", trained)
    with panel.host.answers(qt.QMessageBox.No) as questions:
        panel.ui.jobsDeleteButton.click()
    assert "Delete the job 'trained' for good?" in questions[0]
    assert "the trained model" in questions[0] and "not the job's own (anna.nrrd)" in questions[0]
    panel.look()
    assert trained.is_dir() and panel.row("jobs", trained)["State"] == "done"

    with panel.host.answers(qt.QMessageBox.Yes):
        panel.ui.jobsDeleteButton.click()
    panel.wait(lambda: panel.status("jobs") == "trained was deleted.")
    panel.settle()
    assert list(trained.parent.iterdir()) == []
    assert panel.home.jobs.table.row_keys() == [] and panel.home.models.table.row_keys() == []
    assert panel.parameters.selectedJob == "" and panel.text("jobsDetails") == ""


def test_a_job_that_has_begun_meanwhile_is_not_deleted(asked, make_job):
    import qt

    panel, folder = asked, make_job("resumed elsewhere", ("state", {"state": "stopped"}))
    panel.look()
    panel.choose("jobs", folder.path)
    folder.events_file.unlink()
    folder.register_worker()  # this process; the panel has not looked since
    with panel.host.answers(qt.QMessageBox.Yes):
        panel.ui.jobsDeleteButton.click()
    panel.wait(lambda: "stop it before deleting it" in panel.status("jobs"))
    assert folder.job_file.exists()


def test_damaged_jobs_are_listed_explained_and_deleted(asked, make_job):
    import qt

    panel = asked
    folder = make_job("damaged")
    folder.job_file.write_text("{", encoding="utf-8")
    garbage = make_job("garbage", ("progress", {"step": "x", "total": None}), worker_json="[", result_json="[1, 2]")
    garbage.resources_file.write_text("7", encoding="utf-8")
    with garbage.events_file.open("ab") as file:
        file.write(b'\xff\xfe{"event": "state"}\n{"event": "metrics", "values": 3}\n')
        file.write(b'{"event": "state", "state": "x"}\n{"ev')
    panel.look()
    assert panel.row("jobs", garbage.path)["State"] == "done", "there is a result"
    panel.choose("jobs", garbage.path)
    panel.choose("jobs", folder.path)
    assert panel.row("jobs", folder.path)["Job"] == "cannot be read"
    assert "is not valid JSON" in panel.text("jobsDetails")
    assert panel.ui.jobsResumeButton.toolTip == "Its job.json cannot be read."
    os.utime(folder.job_file, (1.7e9, 1.7e9))
    with panel.host.answers(qt.QMessageBox.Yes):
        panel.ui.jobsDeleteButton.click()
    panel.wait(lambda: not folder.path.exists())


def test_log_and_folder(panel, make_job, monkeypatch):
    import qt

    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    folder = make_job("first", ("state", {"state": "failed", "message": "m"}), log_txt="Traceback: it was the cat\n")
    panel.look()
    panel.choose("jobs", folder.path)
    panel.ui.jobsLogButton.click()
    assert "it was the cat" in panel.ui.logTextEdit.toPlainText()
    assert not panel.ui.logCollapsibleButton.collapsed
    panel.ui.jobsFolderButton.click()
    assert opened == [str(folder.path)]


def test_jobs_for_the_scene_are_listed_too(panel, make_job, runs_folder):
    folder = make_job("temporary/apply", ("state", {"state": "running"}), action="apply")
    panel.look()
    assert panel.row("jobs", folder.path)["Job"] == "apply trained"


def test_sorting_by_a_click_keeps_the_choice(panel, make_job):
    first = make_job("a", ("progress", {"step": 9, "total": 10, "remaining": None}), ("state", {"state": "stopped"}))
    make_job("b", ("progress", {"step": 1, "total": 10, "remaining": None}), ("state", {"state": "stopped"}))
    make_job("c", ("state", {"state": "failed", "message": "m"}))
    panel.look()
    names = lambda: [Path(key).name for key in panel.home.jobs.table.row_keys()]  # noqa: E731
    assert names() == ["c", "b", "a"]
    panel.choose("jobs", first.path)
    header = panel.ui.jobsTable.horizontalHeader()
    for column, expected in ((2, "cba"), (2, "abc"), (5, "abc"), (5, "cba"), (1, "cab")):
        header.sectionClicked.emit(column)
        panel.settle()
        if column == 1:
            assert names()[0] == "c"
        else:
            assert "".join(names()) == expected
        row = panel.ui.jobsTable.selectionModel().selectedRows()[0].row()
        assert names()[row] == "a" == panel.home.jobs.chosen().folder.path.name
    assert panel.parameters.jobOrder == "state"
