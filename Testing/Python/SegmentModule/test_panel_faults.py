"""The panel when a worker hangs or its folder is deleted: one sentence with a remedy."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


def start(panel, **changes):
    from MedDeepLib.jobs import JobFolder

    panel.choose_training(steps=3000, validate_every=5, **changes)
    panel.ui.trainStartButton.click()
    panel.wait_for_status("train", "of 3000")
    return JobFolder(panel.run_folder())


@pytest.mark.slow
def test_a_worker_that_hangs_is_announced_and_ended_and_can_be_resumed(panel, monkeypatch):
    monkeypatch.setenv("MEDDEEP_SILENCE_SECONDS", "60")  # a worker gives no heartbeat during its imports either
    folder = start(panel)
    assert panel.host.process_events(120, folder.has_checkpoint)
    worker = psutil.Process(folder.worker_pid())
    panel.section("train").monitor.job.running._heartbeat.limit = 2.0
    os.kill(worker.pid, signal.SIGSTOP)
    panel.wait_for_status("train", "The worker has sent no heartbeat for 2 s. It will be ended in another 2 s.", 30)
    assert panel.is_busy("train") and panel.ui.trainStopButton.enabled
    os.kill(worker.pid, signal.SIGCONT)
    panel.wait_for_status("train", "of 3000", 30)
    assert "The worker sends heartbeats again." in panel.ui.logTextEdit.plainText

    os.kill(worker.pid, signal.SIGSTOP)
    status = panel.wait("train", 60)
    assert status == (
        "The worker sent no heartbeat for 4 s and was ended; its last checkpoint is kept. "
        "Resume continues from the last checkpoint."
    )
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert panel.ui.trainResumeButton.enabled
    panel.ui.trainResumeButton.click()
    panel.wait_for_status("train", "of 3000")
    panel.ui.trainStopButton.click()
    panel.wait("train")


@pytest.mark.slow
def test_a_folder_that_is_deleted_under_a_training(panel):
    folder = start(panel)
    worker = psutil.Process(folder.worker_pid())
    while folder.path.exists():
        shutil.rmtree(folder.path, ignore_errors=True)
    status = panel.wait("train", 60)
    assert status.startswith(f"The job folder {folder.path} was deleted or moved while the job ran")
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert not folder.path.exists()
    assert panel.ui.trainStartButton.enabled and not panel.ui.trainResumeButton.enabled


def test_stop_works_after_the_folder_has_gone(panel):
    """The stop file cannot be written; the panel must cope with that."""
    folder = start(panel)
    while folder.path.exists():
        shutil.rmtree(folder.path, ignore_errors=True)
    panel.ui.trainStopButton.click()
    assert "was deleted or moved" in panel.wait("train", 60) or not panel.is_busy("train")
