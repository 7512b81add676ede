"""Operations that are repeatable to the last bit; those that are not are named once."""

from __future__ import annotations

import warnings

import pytest
import torch
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Job
from MedDeepLib.worker.repeatable import repeatable_operations
from toy_cases import run_job


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    yield
    torch.backends.cudnn.benchmark = before


class Heard(list):
    def __call__(self, event: str, **fields) -> None:
        self.append((event, fields["message"]))


def not_repeatable() -> None:
    """An operation without a deterministic version in torch, even on the CPU."""
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def settings() -> tuple:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


def test_asked_for_everything_is_set_and_afterwards_as_before():
    import os

    before = settings()
    with repeatable_operations(True, Heard()):
        assert settings() == (True, True, False) and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert settings() == before
    with pytest.raises(UserError), repeatable_operations(True, Heard()):
        raise UserError("x")
    assert settings() == before


def test_not_asked_for_nothing_is_changed():
    heard, before = Heard(), settings()
    with repeatable_operations(False, heard):
        assert settings() == before
        not_repeatable()
    assert heard == []


def test_what_has_no_repeatable_version_is_computed_and_named_once():
    heard = Heard()
    with warnings.catch_warnings(record=True), repeatable_operations(True, heard):
        for _ in range(3):
            not_repeatable()
    assert [event for event, _ in heard] == ["warning"]
    assert heard[0][1].startswith("The operation put_ has no deterministic version on this device")


def test_other_warnings_go_where_they_went():
    with warnings.catch_warnings(record=True) as others, repeatable_operations(True, Heard()):
        warnings.simplefilter("always")
        warnings.warn("Mind the step.", stacklevel=1)
    assert [str(other.message) for other in others] == ["Mind the step."]


def test_what_the_user_has_set_for_cublas_stays(monkeypatch):
    import os

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with repeatable_operations(True, Heard()):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_a_training_that_asks_for_it_computes_so(toy_dataset, tmp_path, monkeypatch, segment):
    from fault_tools import training_job
    from MedDeepLib.training import engine

    seen = []
    original = engine.train
    monkeypatch.setattr(engine, "train", lambda *arguments: seen.append(settings()) or original(*arguments))
    for name, wanted in (("plain", False), ("deterministic", True)):
        job = training_job(toy_dataset, steps=1)
        job = Job(**{**vars(job), "deterministic": wanted})
        assert run_job(tmp_path / name, job)[0] == 0
    assert [deterministic for deterministic, *_ in seen] == [False, True] and not settings()[0]
    code, _, errors = segment(
        *("train", "--dataset", toy_dataset, "--method", "unet", "--output", tmp_path / "script", "--deterministic"),
        *("--set", "steps=1", "--device", "cpu", "--set", "features=4,8,8", "--set", "patch_size=16,16,16"),
    )
    assert code == 0, errors
    assert Job.load(tmp_path / "script" / "job.json").deterministic and seen[-1][0]


def test_the_job_file_takes_true_or_false_only(tmp_path):
    file = tmp_path / "job.json"
    Job("segment", "train", "unet", dataset="d", deterministic=True).save(file)
    assert Job.load(file).deterministic is True
    file.write_text(file.read_text(encoding="utf-8").replace('"deterministic": true', '"deterministic": 1'))
    with pytest.raises(UserError, match="'deterministic' must be true or false, not 1"):
        Job.load(file)
