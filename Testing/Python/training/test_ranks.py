"""Several processes that train together: the weights of one process with the full batch, and one set of reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from MedDeepLib.jobs.events import EventReader
from toy_ranks import ITEMS, STEPS, together, trained


def weights(folder: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"weights.{rank}.pt", weights_only=True)


def alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    trained(folder, 8)
    return folder


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_two_processes_give_the_weights_of_one_with_twice_the_batch(alone, tmp_path, micro_batches):
    folder = tmp_path / "run"
    together(2, folder, 4, None, micro_batches)
    alike(weights(folder), weights(alone))
    for name, value in weights(folder, 1).items():
        assert torch.equal(value, weights(folder)[name])
    seen = [json.loads((folder / f"seen.{rank}.json").read_text()) for rank in range(2)]
    assert sorted(seen[0] + seen[1]) == sorted(json.loads((alone / "seen.0.json").read_text()))
    assert not set(seen[0]) & set(seen[1])


def test_events_and_checkpoints_are_written_once(alone, tmp_path):
    folder = tmp_path / "run"
    together(2, folder, 4)
    kinds = [[e["event"] for e in EventReader(f / "events.jsonl").read() if e["event"] != "progress"]
             for f in (folder, alone)]  # fmt: skip
    assert [k for k in kinds[0] if k not in ("metrics", "warning")] == [k for k in kinds[1] if k != "metrics"]
    (warning,) = [e for e in EventReader(folder / "events.jsonl").read() if e["event"] == "warning"]
    assert warning["message"] == (
        "Stage 'own rule' has an update rule of its own, so all 2 processes do the same work."
    )
    fits = [[e["step"] for e in EventReader(folder / "events.jsonl").read()
             if e["event"] == "metrics" and "fit" in e["values"]]]  # fmt: skip
    assert fits == [[10, 20, 30]]
    files = {"checkpoint", "checkpoint.previous", "best.0", "stage.0", "stage.1", "weights.0", "weights.1"}
    assert {file.stem for file in folder.glob("*.pt")} == files


@pytest.mark.parametrize("moment", [5, STEPS + 6])
def test_stopped_with_two_processes_and_resumed_with_two(alone, tmp_path, moment):
    folder = tmp_path / "run"
    together(2, folder, 4, moment)
    assert not (folder / "weights.0.pt").exists()
    together(2, folder, 4)
    alike(weights(folder), weights(alone))


def test_a_run_is_resumed_with_another_number_of_processes(tmp_path):
    """Every sample is used once and in order of its number, whichever process uses it."""
    folder = tmp_path / "run"
    together(2, folder, 4, 9)
    trained(folder, 4)
    later = json.loads((folder / "seen.0.json").read_text())
    assert later == list(range(2 * 4 * 10, 2 * 4 * 10 + 4 * (STEPS - 10)))
    assert (folder / "weights.0.pt").exists()


def made(folder: Path) -> list[list[int]]:
    files = [folder / f"made.{rank}.txt" for rank in range(2)]
    return [[int(line) for line in file.read_text().splitlines()] if file.exists() else [] for file in files]


@pytest.mark.parametrize("stop_after", [None, 2])
def test_items_are_shared_out_arrays_are_fitted_once_and_the_forward_pass_is_synchronised(tmp_path, stop_after):
    """Also for several networks with an output that is not a tensor, and one that is not trained."""
    trained(tmp_path / "alone", 8, kind="shared")
    folder = tmp_path / "together"
    if stop_after:
        together(2, folder, 4, stop_after, 1, "shared")
        assert made(folder) == [[0, 2], [1, 3]]
    together(2, folder, 4, None, 2, "shared")
    assert made(folder) == [list(range(0, ITEMS, 2)), list(range(1, ITEMS, 2))]
    alike(weights(folder), weights(tmp_path / "alone"))
    for name, value in weights(folder, 1).items():
        assert torch.equal(value, weights(folder)[name])
