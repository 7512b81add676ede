"""A job that takes several GPUs waits for all of them, and two such jobs never wait for each other."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest
from MedDeepLib.devices import Board, Device, Lease, devices_of_processes
from MedDeepLib.errors import Stopped, UserError
from MedDeepLib.jobs import Job, JobFolder
from MedDeepLib.worker.device_queue import leased_devices

CARDS = [Device("cuda:1", "Large", free_bytes=9, key="b"), Device("cuda:0", "Small", free_bytes=5, key="a")]
CPU = Device("cpu", "CPU")
TRAIN = Job("segment", "train", "unet", dataset="x", device="all")


@pytest.fixture(autouse=True)
def two_cards(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("MedDeepLib.worker.device_queue.usable_devices", lambda request: (CARDS, ""))


@pytest.mark.parametrize(
    ("usable", "request_", "processes", "ids"),
    [
        (CARDS, "auto", 0, ["cuda:1"]),
        (CARDS, "auto", 2, ["cuda:0", "cuda:1"]),
        (CARDS, "all", 0, ["cuda:0", "cuda:1"]),
        (CARDS, "all", 1, ["cuda:1"]),
        ([CPU], "all", 0, ["cpu"]),
        ([CPU], "cpu", 3, ["cpu", "cpu", "cpu"]),
    ],
)
def test_every_process_has_a_device(usable, request_, processes, ids):
    assert [device.id for device in devices_of_processes(usable, request_, processes)] == ids


def test_more_processes_than_cards_are_refused():
    with pytest.raises(UserError, match="3 processes need a GPU each, and 'all' has 2 GPUs"):
        devices_of_processes(CARDS, "all", 3)
    with pytest.raises(UserError, match="'cuda:0' has 1 GPU: ask for 1 at most"):
        devices_of_processes(CARDS[1:], "cuda:0", 2)


def test_two_jobs_that_want_all_cards_take_them_one_after_the_other(tmp_path):
    told: dict[str, list[str]] = {"a": [], "b": []}
    inside, most = [0], [0]

    def compute(name: str) -> None:
        folder = JobFolder.create(tmp_path / name, TRAIN)

        def report(event: str, **fields) -> None:
            told[name].append(fields.get("message", ""))

        with leased_devices(TRAIN, folder, report, lambda: False) as (devices, _):
            assert [device.id for device in devices] == ["cuda:0", "cuda:1"]
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.3)
            inside[0] -= 1
        assert json.loads(folder.resources_file.read_text())["device"] == "cuda:0,cuda:1"

    threads = [threading.Thread(target=compute, args=(name,)) for name in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most[0] == 1
    assert all("Computing on Small [cuda:0] and Large [cuda:1] in 2 processes." in said for said in told.values())
    reason = "Waiting for Small, used by 'train unet'"
    waited = [any(text.startswith(reason) for text in said) for said in told.values()]
    assert sorted(waited) == [False, True]
    assert Board().tickets() == []


def test_one_that_waits_for_the_second_card_gives_the_first_back_when_it_is_stopped(tmp_path):
    folder = JobFolder.create(tmp_path / "run", TRAIN)
    asked = []
    with Lease([CARDS[0]], "apply lungs") as other:
        assert other.take()
        with (
            pytest.raises(Stopped),
            leased_devices(TRAIN, folder, lambda *_, **__: None, lambda: bool(asked) or asked.append(1) or False),
        ):
            pass
        assert [ticket.title for ticket in Board().tickets()] == ["apply lungs"]
    with leased_devices(replace(TRAIN, device="auto"), folder, lambda *_, **__: None, lambda: False) as (devices, _):
        assert [device.id for device in devices] == ["cuda:1"]
