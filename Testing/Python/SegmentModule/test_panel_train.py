"""Training by clicking: it runs, its curves grow, it stops, goes on, survives a killed worker, and blocks nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from heartbeat import LONGEST_GAP, Heartbeat, worker_processes


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
    assert panel.host.process_events(60, lambda: panel.parameters.trainingChart.GetNumberOfPlotSeriesNodes() == 2)
    panel.ui.trainStopButton.click()
    assert not panel.ui.trainStopButton.enabled
    status = panel.wait("train")
    assert heartbeat.stop() < LONGEST_GAP
    assert "Stopped (step " in status and "Resume goes on from there" in status
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
    assert "did not come to its end (step " in panel.status("train")
    panel.ui.trainResumeButton.click()
    panel.wait_for_status("train", "of 3000")

    # Closing the panel ends the worker, quickly, and the training can still be resumed.
    start = time.perf_counter()
    panel.host.unload_module(panel.widget)
    assert time.perf_counter() - start < 3.0
    assert not worker_processes(folder)
    assert (folder / "checkpoint.pt").exists()


def test_closing_the_scene_stops_the_training(panel):
    panel.choose_training(steps=3000, validate_every=5)
    panel.ui.trainSeedSpinBox.value = 7
    panel.ui.trainStartButton.click()
    folder = panel.run_folder()
    panel.wait_for_status("train", "of 3000")
    start = time.perf_counter()
    panel.host.close_scene()
    assert time.perf_counter() - start < 1.0
    assert "Resume goes on from there" in panel.wait("train")
    assert not worker_processes(folder)
    assert panel.ui.trainResumeButton.enabled
    assert panel.parameters.seed == 7 and panel.run_folder() == folder


def test_the_end_of_the_application_leaves_no_process(panel):
    panel.choose_training(steps=3000)
    panel.ui.trainStartButton.click()
    folder = panel.run_folder()
    assert panel.host.process_events(60, lambda: worker_processes(folder))
    start = time.perf_counter()
    panel.host.quit_application()
    assert time.perf_counter() - start < 3.0
    assert not worker_processes(folder)


def test_bad_input_is_one_sentence_in_the_status(panel, tmp_path):
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
    panel.choose_training()
    panel.parameters.device = "cuda:9"
    assert "not on this computer" in panel.ui.trainDeviceComboBox.currentText
    panel.ui.trainStartButton.click()
    assert "has no device 'cuda:9'" in panel.wait("train")


def test_start_never_touches_a_folder_with_a_run(panel, trained_run, runs_folder):
    panel.choose_training()
    panel.ui.trainRunFolderPathLineEdit.currentPath = str(trained_run)
    panel.ui.trainStartButton.click()
    assert panel.run_folder() != trained_run
    assert panel.run_folder().parent == runs_folder
