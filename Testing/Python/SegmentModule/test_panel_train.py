"""Training by clicking: it runs, draws curves, stops, resumes, survives a killed worker, and blocks nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from heartbeat import LONGEST_GAP, Heartbeat, worker_processes
from replay import kinds, recorded, step


@pytest.mark.alone
def test_stop_resume_and_finish(panel, runs_folder):
    from MedDeepLib.jobs import JobFolder, State

    panel.choose_training(steps=60, validate_every=20)
    panel.ui.trainStartButton.click()
    assert not panel.ui.trainStartButton.enabled and panel.ui.trainStopButton.enabled
    folder = panel.run_folder()
    assert folder.parent == runs_folder

    panel.wait_for_status("train", "of 60")
    heartbeat = Heartbeat()
    heartbeat.start()
    assert panel.host.process_events(60, lambda: panel.parameters.trainingChart.GetNumberOfPlotSeriesNodes() >= 2)
    panel.ui.trainStopButton.click()
    assert not panel.ui.trainStopButton.enabled
    status = panel.wait("train")
    assert heartbeat.stop() < LONGEST_GAP
    assert "Stopped (step " in status and "Resume continues from the last checkpoint" in status
    assert JobFolder(folder).state() is State.STOPPED
    assert not worker_processes(folder)
    assert panel.ui.trainResumeButton.enabled and panel.ui.trainStartButton.enabled
    stopped_at = panel.curve("loss")[-1][0]
    assert stopped_at < 60

    panel.ui.trainResumeButton.click()
    assert panel.run_folder() == folder
    status = panel.wait("train")
    assert status == f"Done: the model is in {folder}."
    steps = [step for step, _ in panel.curve("loss")]
    assert steps == sorted(set(steps)) and steps[-1] == 60 and steps[0] <= stopped_at
    assert [step for step, _ in panel.curve("validation Dice")] == [20, 40, 60]
    assert panel.ui.applyModelComboBox.findData(str(folder)) > 0
    assert not panel.ui.trainResumeButton.enabled
    said = [event for event in JobFolder(folder).events() if event.get("state") != "stopped"]
    assert kinds(said) == kinds(recorded("segment_train").events)


def test_replayed_stop_resume_and_finish(panel):
    """The same with a recorded worker, which stops at a known step."""
    at = recorded("segment_train").told_step(30)
    panel.replay(train=recorded("segment_train")).hold(step(at))
    panel.choose_training(steps=60, validate_every=20)
    panel.ui.trainStartButton.click()
    panel.wait_for_status("train", f"Training: unet: {at} of 60")
    assert panel.ui.trainProgressBar.maximum == 60 and panel.ui.trainProgressBar.value == at
    panel.ui.trainStopButton.click()
    assert panel.wait("train") == f"Stopped (step {at} of 60); Resume continues from the last checkpoint."
    panel.ui.trainResumeButton.click()
    assert panel.wait("train") == f"Done: the model is in {panel.run_folder()}."
    assert [number for number, _ in panel.curve("validation Dice")] == [20, 40, 60]


def test_curves_are_shown_in_the_layout(panel):
    import slicer
    from MedDeepLib.scene.curves import TrainingCurves

    assert not panel.ui.trainCurvesButton.enabled
    section = panel.section("train")
    section._new_curves(Path("run"))
    assert isinstance(section.curves, TrainingCurves) and panel.ui.trainCurvesButton.enabled
    panel.ui.trainCurvesButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == section.curves.chart.GetID()


@pytest.mark.slow
def test_a_killed_worker_is_noticed_and_can_be_resumed_after_a_restart(panel):
    panel.choose_training(steps=3000, validate_every=5)
    panel.ui.trainStartButton.click()
    folder = panel.run_folder()
    assert panel.host.process_events(60, (folder / "checkpoint.pt").exists)
    panel.section("train").monitor.job.running.kill()
    status = panel.wait("train")
    assert "ended unexpectedly" in status and "Resume" in status
    assert panel.ui.trainResumeButton.enabled
    assert "ended unexpectedly" in panel.ui.logTextEdit.toPlainText()

    # A new session: another panel, an empty scene.
    panel.host.unload_module(panel.widget)
    panel.host.close_scene()
    panel.open()
    assert panel.run_folder() == folder
    assert "did not finish (step " in panel.status("train")
    panel.ui.trainResumeButton.click()
    panel.wait_for_status("train", "of 3000")

    # Closing the panel ends the worker, and the training can still be resumed.
    panel.host.unload_module(panel.widget)
    assert not worker_processes(folder)
    assert (folder / "checkpoint.pt").exists()


def start_replay(panel):
    """A running training whose worker continues until told otherwise."""
    launcher = panel.replay(train=recorded("segment_train"))
    launcher.hold(step(30))
    panel.choose_training(steps=60)
    panel.ui.trainStartButton.click()
    panel.wait_for_status("train", " of 60")
    return launcher.workers[0]


def test_closing_the_scene_stops_the_training(panel):
    panel.ui.trainSeedSpinBox.value = 7
    worker = start_replay(panel)
    worker.on_stop = "nothing"
    folder = panel.run_folder()
    panel.host.close_scene()
    assert worker.is_running() and worker.folder.stop_requested(), "closing must not wait for the worker"
    worker.on_stop = "leave"
    assert "Resume continues from the last checkpoint" in panel.wait("train")
    assert not worker.is_running()
    assert panel.ui.trainResumeButton.enabled
    assert panel.parameters.seed == 7 and panel.run_folder() == folder


@pytest.mark.parametrize("on_stop", ["leave", "nothing"])
def test_the_end_of_the_application_ends_the_worker(panel, on_stop):
    worker = start_replay(panel)
    worker.on_stop = on_stop
    panel.host.quit_application()
    assert not worker.is_running() and panel.widget.logic.launcher.released
    assert worker.folder.can_resume()


def test_bad_input_is_one_sentence_in_the_status(panel, tmp_path):
    panel.replay(train=recorded("segment_train_missing"))
    panel.choose_training()
    panel.ui.trainDatasetPathLineEdit.currentPath = str(tmp_path / "missing.json")
    panel.ui.trainStartButton.click()
    status = panel.wait("train")
    assert "missing.json does not exist" in status and "Traceback" not in status
    assert panel.ui.trainStartButton.enabled

    panel.parameters.trainingParameters = '{"unet": {"learning_rate": "fast"}}'
    assert not panel.ui.trainStartButton.enabled
    assert "'learning_rate' must be a number" in panel.ui.trainStartButton.toolTip


def test_a_device_that_this_computer_lacks_is_refused(panel):
    panel.replay(train=recorded("segment_train_device"))
    panel.choose_training()
    panel.parameters.device = "cuda:9"
    assert "not on this computer" in panel.ui.trainDeviceComboBox.currentText
    panel.ui.trainStartButton.click()
    assert "has no device 'cuda:9'" in panel.wait("train")


def test_start_never_touches_a_folder_with_a_run(panel_with_recorded_model, runs_folder):
    panel = panel_with_recorded_model
    panel.replay(train=recorded("segment_train"))
    panel.choose_training()
    panel.ui.trainRunFolderPathLineEdit.currentPath = str(panel.run)
    panel.ui.trainStartButton.click()
    assert panel.run_folder() != panel.run
    assert panel.run_folder().parent == runs_folder
