"""Leases of a computer's devices by several processes: one at a time, in order, released when their process ends."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from MedDeepLib.devices import Board, Device, Lease, holders, list_devices, manager, move, waiting
from MedDeepLib.devices.board import LOCK_SECONDS
from MedDeepLib.devices.locks import is_held, state_folder
from MedDeepLib.errors import JobError, UserError

CARD = Device("cuda:0", "Card", key="GPU-a")
OTHER = Device("cuda:1", "Other card", key="GPU-b")
CPU = Device("cpu", "CPU")


@pytest.fixture
def board(tmp_path) -> Board:
    return Board(tmp_path / "state")


@pytest.fixture
def lease(board):
    """Makes leases on the board and gives them back after the test."""
    made = []

    def make(*devices: Device, title: str = "train unet", **options) -> Lease:
        made.append(Lease(devices or (CARD,), title, "/run", board=board, **options))
        return made[-1]

    yield make
    for one in made:
        one.release()


def titles(tickets) -> list[str]:
    return [ticket.title for ticket in tickets]


def test_one_at_a_time(lease, board):
    first, second = lease(title="first"), lease(title="second")
    assert first.take() and first.take() and first.device is CARD
    assert not second.take() and second.device is None
    assert titles(holders(CARD, board)) == ["first"] and titles(waiting(CARD, board)) == ["second"]
    first.release()
    first.release()
    assert second.take()
    assert titles(holders(CARD, board)) == ["second"] and not waiting(CARD, board)


def test_whom_it_waits_for(lease):
    first = lease(title="train unet", application="Slicer")
    first.take()
    second, third = lease(title="second"), lease(title="third", application="")
    holder = f"'train unet' (Slicer, process {os.getpid()})"
    assert second.reason() == f"Waiting for Card, used by {holder}"
    assert third.reason() == f"Waiting for Card, used by {holder}; 1 job comes before this one"
    assert lease(title="fourth").reason().endswith("; 2 jobs come before this one")
    assert third.ticket.in_words() == f"'third' (process {os.getpid()})"


def test_the_order_is_that_of_the_requests_whoever_looks_first(lease):
    holder = lease()
    holder.take()
    second, third = lease(), lease()
    holder.release()
    assert not third.take(), "the second one has asked before"
    assert second.take() and not third.take()


def test_the_order_can_be_changed(lease, board):
    lease(title="holder").take()
    one, two, three = lease(title="one"), lease(title="two"), lease(title="three")
    move(three.ticket.id, 0, board)
    assert titles(waiting(CARD, board)) == ["three", "one", "two"]
    move(three.ticket.id, 1, board)
    assert titles(waiting(CARD, board)) == ["one", "three", "two"]
    move(one.ticket.id, 99, board)
    assert titles(waiting(CARD, board)) == ["three", "two", "one"]
    move(two.ticket.id, -5, board)
    assert titles(waiting(CARD, board)) == ["two", "three", "one"]


def test_the_order_can_be_changed_for_one_of_several_devices(lease, board):
    lease(CARD, title="holder").take()
    lease(OTHER, title="other holder").take()
    lease(CARD, title="card"), lease(OTHER, title="other")
    both = lease(CARD, OTHER, title="both")
    move(both.ticket.id, 0, board, OTHER)
    assert titles(waiting(OTHER, board)) == ["both", "other"]
    assert titles(waiting(CARD, board)) == ["card", "both"]
    move(both.ticket.id, 1, board, OTHER)
    assert titles(waiting(OTHER, board)) == ["other", "both"]


def test_a_move_does_not_wait_long_for_a_locked_board(lease, board):
    lease().take()
    waiter = lease()
    with board.opened():
        start = time.monotonic()
        with pytest.raises(JobError, match="has kept"):
            move(waiter.ticket.id, 0, board, timeout=0.05)
        assert time.monotonic() - start < LOCK_SECONDS, "it has waited as long as others do"


def test_only_waiting_jobs_can_be_moved(lease, board):
    holder = lease()
    holder.take()
    for ticket in (holder.ticket.id, "unknown"):
        with pytest.raises(UserError, match="No job with the ticket '.*' is waiting"):
            move(ticket, 0, board)


def test_auto_takes_whichever_is_free_first(lease):
    both = (OTHER, CARD)
    first, second, third = lease(*both), lease(*both), lease(*both)
    assert first.take() and first.device is OTHER, "the preferred one"
    assert second.take() and second.device is CARD
    assert not third.take()
    assert third.reason().startswith("Waiting for Other card or Card, used by 'train unet' (")
    second.release()
    assert third.take() and third.device is CARD


def test_a_job_for_another_gpu_does_not_block_the_queue(lease):
    lease(CARD).take()
    assert not lease(CARD).take()
    assert lease(OTHER).take()


def test_the_cpu_is_shared_with_a_thread_budget(lease, board, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("MedDeepLib.devices.leases.available_cores", lambda: 8)
    jobs = [lease(CPU), lease(CPU), lease(CPU), lease(CPU, threads=5)]
    assert all(job.take() for job in jobs)
    assert [job.threads for job in jobs] == [7, 3, 2, 5]
    assert [ticket.threads for ticket in holders(CPU, board)] == [7, 3, 2, 5]
    for job in jobs[:3]:
        job.release()
    last = lease(CPU)
    assert last.take() and last.threads == 3, "what is left beside the five, or half: the larger"


def test_the_users_own_number_of_threads_counts(lease, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    one, two = lease(CPU), lease(CPU, threads=1)
    assert one.take() and two.take()
    assert (one.threads, two.threads) == (3, 1)


def test_a_card_is_the_same_whatever_number_a_process_sees_it_under(lease):
    seen_by_other_process = Device("cuda:0", "Other card", key=OTHER.key)
    assert lease(OTHER).take()
    assert not lease(seen_by_other_process).take()
    assert lease(CARD).take()


# --- several processes ------------------------------------------------------------------------------------------------


def hold(folder: Path, ready, release) -> None:
    with Lease([CARD], "other process", board=Board(folder)) as lease:
        assert lease.take()
        ready.set()
        release.wait(60)


def count_holders(folder: Path, file: Path, rounds: int) -> None:
    """Leases the GPU repeatedly, and records whenever another process holds it too."""
    for _ in range(rounds):
        with Lease([CARD], "x", board=Board(folder)) as lease:
            while not lease.take():
                time.sleep(0.001)
            marker = file.with_name("inside")
            with file.open("a", encoding="utf-8") as notes:
                notes.write("two\n" if marker.exists() else "alone\n")
            marker.touch()
            time.sleep(0.002)
            marker.unlink()


@pytest.fixture
def processes():
    """Starts functions in separate processes; any that still run after the test are killed."""
    context = multiprocessing.get_context("spawn")
    started = []

    def start(function, *arguments):
        started.append(context.Process(target=function, args=arguments))
        started[-1].start()
        return started[-1]

    start.event = context.Event
    yield start
    for process in started:
        process.kill()
        process.join(10)


@pytest.fixture
def holder(processes, board):
    ready, release = processes.event(), processes.event()
    process = processes(hold, board.folder, ready, release)
    assert ready.wait(30)
    process.let_go = release.set
    return process


def test_the_card_of_another_process_is_given_back(lease, holder, board):
    mine = lease()
    assert not mine.take() and "used by 'other process' (python" in mine.reason().lower()
    holder.let_go()
    holder.join(30)
    assert mine.take() and titles(holders(CARD, board)) == ["train unet"]


def test_the_card_of_a_killed_process_is_free_at_once(lease, holder, board):
    mine = lease()
    assert not mine.take()
    holder.kill()
    holder.join(30)
    assert mine.take()
    assert len(list(board.folder.glob("ticket-*"))) == 1, "nothing of the dead is left"


def test_without_the_board_the_lock_still_counts(lease, holder, board):
    """The file with the names is only information; it may be deleted or damaged."""
    mine = lease()
    for damage in ("", "{", '{"tickets": [{"id": 1}]}'):
        (board.folder / "board.json").write_text(damage, encoding="utf-8")
        assert not mine.take()
        assert mine.reason() == "Waiting for Card"
    (board.folder / "board.json").unlink()
    assert not mine.take() and titles(waiting(CARD, board)) == ["train unet"]
    holder.let_go()
    holder.join(30)
    assert mine.take()


def test_never_two_at_once(processes, board, tmp_path):
    file = tmp_path / "notes"
    started = [processes(count_holders, board.folder, file, 15) for _ in range(4)]
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    assert file.read_text(encoding="utf-8").splitlines() == ["alone"] * 60
    assert board.tickets() == [] and not list(board.folder.glob("ticket-*"))


@pytest.mark.parametrize("jump", [-100_000, 100_000])
def test_a_clock_that_jumps_changes_nothing(lease, holder, board, monkeypatch, jump):
    first = lease(title="first")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    second = lease(title="second")
    assert not first.take() and not second.take()
    assert titles(waiting(CARD, board)) == ["first", "second"]
    holder.let_go()
    holder.join(30)
    assert not second.take() and first.take()


# --- its location, and the holders in the list of devices -------------------------------------------------------------


def test_the_folder_belongs_to_this_computer(monkeypatch, tmp_path):
    monkeypatch.delenv("MEDDEEP_STATE")
    monkeypatch.setattr("platform.node", lambda: "host/..name")
    assert state_folder().name == "host___name" and state_folder().parent.name == "MedDeepExtension"
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path))
    assert state_folder() == tmp_path


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written .* environment variable MEDDEEP_STATE"):
        Lease([CARD], "x", board=Board(tmp_path / "file" / "state"))


def test_a_board_locked_by_another_program_is_not_awaited_forever(board):
    with board.opened(), pytest.raises(JobError, match=r"kept .*board.json locked for 0.05 s"), board.opened(0.05):
        pass


def test_what_holds_no_lock_is_not_held(tmp_path):
    (tmp_path / "left.lock").touch()
    assert not is_held(tmp_path / "left.lock") and not is_held(tmp_path / "missing.lock")


def test_the_list_of_devices_names_the_jobs(monkeypatch):
    monkeypatch.setattr(manager, "_cuda_devices", lambda: [CARD, OTHER])
    with Lease([CARD], "train unet", application="Slicer") as mine, Lease([CPU], "apply lungs") as shared:
        assert mine.take() and shared.take()
        card, other, *_, cpu = list_devices()
        assert [(owner.pid, owner.name, owner.title) for owner in card.owners] == [
            (os.getpid(), "Slicer", "train unet")
        ]
        assert other.owners == () and titles(cpu.owners) == ["apply lungs"]
    assert all(device.owners == () for device in list_devices())


def test_without_a_home_to_write_to_the_temporary_folder_serves(monkeypatch, tmp_path):
    from MedDeepLib.devices.locks import state_folder

    monkeypatch.delenv("MEDDEEP_STATE")
    blocked = tmp_path / "file"
    blocked.write_text("no folder", encoding="utf-8")
    for name in ("HOME", "USERPROFILE", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(blocked / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert state_folder().parent == tmp_path
