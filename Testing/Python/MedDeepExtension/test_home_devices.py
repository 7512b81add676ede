"""Devices in the home panel: memory, the jobs that hold them, and the queue, whose order a click changes."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from MedDeepLib.devices import Device, Lease, manager
from pretended_card import computing, let_end, pretend, wait_for

CARD = Device("cuda:0", "Card", 8_000_000_000, 7_100_000_000, key="GPU-a")


@pytest.fixture
def cards(monkeypatch) -> list[Device]:
    """The GPUs that the driver reports; tests change them."""
    found = [CARD]
    monkeypatch.setattr(manager, "_cuda_devices", lambda: list(found))
    return found


@pytest.fixture
def lease():
    """Makes leases as jobs do, each for one GPU unless told otherwise."""
    made = []

    def make(title: str, *devices: Device) -> Lease:
        made.append(Lease(devices or (CARD,), title, f"/runs/{title}", application="Slicer"))
        return made[-1]

    yield make
    for one in made:
        one.release()


def lines(panel, device: int = 0) -> list[str]:
    """The lines below a device in the tree."""
    item = panel.ui.devicesTree.topLevelItem(device)
    return [item.child(number).text(0) for number in range(item.childCount())]


def choose(panel, title: str, device: int = 0) -> None:
    """Click on a line below a device."""
    item = panel.ui.devicesTree.topLevelItem(device)
    child = next(item.child(n) for n in range(item.childCount()) if title in item.child(n).text(0))
    panel.ui.devicesTree.setCurrentItem(child)


def bar(panel, device: int = 0):
    tree = panel.ui.devicesTree
    return tree.itemWidget(tree.topLevelItem(device), 1)


def test_memory_is_shown_and_followed(runs_folder, cards, panel):
    assert panel.ui.devicesTree.topLevelItem(0).text(0) == "Card [cuda:0]"
    assert bar(panel).format == "0.9 of 8.0 GB in use" and bar(panel).value == 900
    assert "CPU" in panel.ui.devicesTree.topLevelItem(1).text(0)
    cards[0] = replace(CARD, free_bytes=2_000_000_000)
    panel.wait(lambda: bar(panel).value == 6000, 5)
    assert bar(panel).format == "6.0 of 8.0 GB in use"
    cards.append(Device("mps", "Apple GPU", note="It shares the computer's memory."))
    panel.wait(lambda: panel.ui.devicesTree.topLevelItemCount == 3, 5)
    assert bar(panel, 1) is None
    assert panel.ui.devicesTree.topLevelItem(1).text(1) == "It shares the computer's memory."


def test_nothing_is_looked_at_while_another_module_is_shown(cards, panel):
    panel.widget.exit()
    cards[0] = replace(CARD, free_bytes=0)
    panel.host.process_events(1.5)
    assert bar(panel).value == 900 and not panel.home.is_looking()
    panel.widget.enter()
    assert bar(panel).value == 8000 and panel.home.is_looking()
    panel.close()
    assert not panel.home.is_looking()


def test_who_holds_and_who_waits(cards, panel, lease):
    blender = manager.Owner(4321, "blender", "", 900_000_000)
    mine = manager.Owner(os.getpid(), "python", "", 500_000_000)
    cards[0] = replace(CARD, owners=(blender, mine))
    holder = lease("train unet")
    assert holder.take() and not lease("apply lungs").take()
    panel.look()
    assert lines(panel) == ["train unet", "blender", "1. waits: apply lungs"]
    card = panel.ui.devicesTree.topLevelItem(0)
    assert card.child(0).text(1) == f"0.5 GB, Slicer, process {os.getpid()}"
    assert card.child(1).text(1) == "0.9 GB, process 4321"
    assert card.child(2).text(1).endswith(f"Slicer, process {os.getpid()}")

    choose(panel, "blender")
    assert not panel.ui.devicesStopButton.enabled
    assert "not a job of this extension" in panel.ui.devicesStopButton.toolTip
    choose(panel, "train unet")
    assert panel.ui.devicesStopButton.enabled and not panel.ui.devicesUpButton.enabled


def test_a_job_that_waits_is_moved(cards, panel, lease):
    lease("holder").take()
    for title in ("one", "two", "three"):
        lease(title)
    panel.look()
    choose(panel, "three")
    assert not panel.ui.devicesDownButton.enabled and "last one" in panel.ui.devicesDownButton.toolTip
    panel.ui.devicesUpButton.click()
    assert lines(panel)[1:] == ["1. waits: one", "2. waits: three", "3. waits: two"]
    panel.ui.devicesUpButton.click()
    assert lines(panel)[1:] == ["1. waits: three", "2. waits: one", "3. waits: two"]
    assert not panel.ui.devicesUpButton.enabled and "next one" in panel.ui.devicesUpButton.toolTip
    panel.ui.devicesDownButton.click()
    assert lines(panel)[1:] == ["1. waits: one", "2. waits: three", "3. waits: two"]


def test_moving_counts_among_those_who_wait_for_this_device(cards, panel, lease):
    """A job that accepts any GPU waits in several queues, each with different jobs."""
    other = Device("cuda:1", "Other card", 8_000_000_000, 8_000_000_000, key="GPU-b")
    cards.append(other)
    lease("holds card").take()
    lease("holds other", other).take()
    lease("card only")
    lease("any", CARD, other)
    lease("other only", other)
    panel.look()
    assert lines(panel, 1)[1:] == ["1. waits: any", "2. waits: other only"]
    choose(panel, "any", 1)
    panel.ui.devicesDownButton.click()
    assert lines(panel, 1)[1:] == ["1. waits: other only", "2. waits: any"]
    assert lines(panel, 0)[1:] == ["1. waits: card only", "2. waits: any"]


def test_a_job_that_has_got_its_device_meanwhile_cannot_be_moved(cards, panel, lease):
    holder, first, second = lease("holder"), lease("first"), lease("second")
    holder.take()
    panel.look()
    choose(panel, "second")
    holder.release()
    first.release()
    assert second.take()
    panel.ui.devicesUpButton.click()
    assert "it may have got its device" in panel.status("devices")
    assert lines(panel) == ["second"]


def test_a_real_job_that_waits_is_listed_and_stopped(tmp_path, monkeypatch, cards, panel, make_job):
    """Another program started both; the panel finds them by their folders and on the lease board."""
    from MedDeepLib.jobs import State, launch

    cards[0] = Device("cuda:0", "Pretended card", 8_000_000_000, 7_000_000_000)
    pretend(tmp_path, monkeypatch)
    first, second, third = (launch(make_job(name)) for name in ("first", "second", "third"))
    try:
        panel.wait(lambda: sum(computing(job) for job in (first, second, third)) == 1, 30)
        panel.wait(lambda: len(lines(panel)) == 3, 30)
        by_folder = {str(job.folder.path): job for job in (first, second, third)}
        device = panel.home.devices.devices[0]
        holding, next_one, last_one = (by_folder[e.folder] for e in (*device.owners, *device.waiting))
        panel.wait(lambda: panel.row("jobs", last_one.folder.path)["State"] == "waiting", 10)
        panel.choose("jobs", last_one.folder.path)
        panel.wait(lambda: "1 job comes before this one" in panel.text("jobsDetails"), 10)

        panel.ui.devicesTree.setCurrentItem(panel.ui.devicesTree.topLevelItem(0).child(2))
        panel.ui.devicesUpButton.click()
        panel.wait(lambda: "comes before" not in panel.text("jobsDetails"), 10)
        panel.ui.jobsStopButton.click()
        panel.wait(lambda: panel.row("jobs", last_one.folder.path)["State"] == "stopped", 20)
        panel.wait(lambda: len(lines(panel)) == 2, 10)
        assert last_one.wait(10) == 130

        panel.ui.devicesTree.setCurrentItem(panel.ui.devicesTree.topLevelItem(0).child(1))
        panel.ui.devicesStopButton.click()
        panel.wait(lambda: next_one.folder.state() is State.STOPPED and len(lines(panel)) == 1, 20)
        let_end(holding)
        assert wait_for(lambda: holding.exit_code is not None and holding.folder.state() is State.DONE)
    finally:
        for job in (first, second, third):
            job.kill()
