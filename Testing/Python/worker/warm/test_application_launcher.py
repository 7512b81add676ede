"""The launcher shared by all modules: warm workers for applications, a new process for everything else."""

from __future__ import annotations

from MedDeepLib.jobs import State, application_launcher
from MedDeepLib.jobs.workers import ProcessLauncher
from warm_plays import finish, gone, wait_for


def test_applications_share_a_process_until_a_training_needs_its_memory(plays, start):
    launcher = ProcessLauncher(start(idle_seconds=60))
    first = launcher.submit(plays("one"))
    finish(first)
    second = launcher.submit(plays("two"))
    assert second.pid == first.pid
    finish(second)
    launcher.release()
    wait_for(lambda: gone(first.pid))
    alone = launcher.launch(plays("three"))
    events = finish(alone)
    assert alone.pid != first.pid and alone.state is State.DONE, events


def test_there_is_one_for_all_modules():
    assert application_launcher() is application_launcher()
