"""Curves of real trainings for TensorBoard and MLflow, read back with their own readers."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from MedDeepLib.jobs import Job, JobFolder
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_cases import TRAINING, run_job, run_worker

QUICK = TRAINING | {"steps": 12, "validate_every": 4}
NOBODY = "http://127.0.0.1:9"


def job(dataset: Path, **changes) -> Job:
    settings = {"method": "unet", "parameters": QUICK, "dataset": str(dataset), "device": "cpu", "seed": 3}
    return Job("segment", "train", **settings | changes)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def reported(events: list[dict]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events:
        for name, value in event["values"].items() if event["event"] == "metrics" else ():
            found.setdefault(name, []).append((event["step"], pytest.approx(value, rel=1e-5)))
    return found


def warnings(events: list[dict]) -> list[str]:
    return [event["message"] for event in events if event["event"] == "warning" and "MLflow" in event["message"]]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A local store, and a client that reads it."""
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{(tmp_path / 'runs.db').as_posix()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri)


def runs(client) -> list:
    experiment = client.get_experiment_by_name("MedDeepExtension")
    return client.search_runs([experiment.experiment_id]) if experiment else []


# --- TensorBoard ------------------------------------------------------------------------------------------------------


def test_the_curves_are_those_of_the_events(toy_run):
    folder = JobFolder(toy_run)
    (stage,) = {event["stage"] for event in folder.events() if event["event"] == "metrics"}
    drawn = curves(toy_run / "tensorboard" / stage)
    assert drawn == reported(folder.events())
    assert {"loss", "validation Dice"} <= set(drawn)
    best = max(value for _, value in drawn["validation Dice"])
    assert best > 0.8, "the network has learned"
    (final,) = curves(toy_run / "tensorboard")[f"{stage}/validation Dice"]
    assert final[1] == pytest.approx(best)


def test_a_resumed_training_has_one_curve_without_a_fold(toy_dataset, tmp_path, monkeypatch):
    from MedDeepLib.worker import process as worker

    asked = []

    def stop_after_a_validation(self) -> bool:
        asked.append(1)
        return len([e for e in folder.events() if "validation Dice" in e.get("values", {})]) >= 1

    folder = JobFolder.create(tmp_path / "run", job(toy_dataset))
    with monkeypatch.context() as patch:
        patch.setattr(worker.StopRequest, "__call__", stop_after_a_validation)
        assert run_worker(folder.path) == 130 and asked
    # The steps since the checkpoint are repeated: a killed training leaves their points behind.
    from torch.utils.tensorboard import SummaryWriter

    (stage,) = {event["stage"] for event in folder.events() if event["event"] == "metrics"}
    lost = SummaryWriter(str(folder.path / "tensorboard" / stage))
    lost.add_scalar("validation Dice", -1.0, 12)
    lost.close()
    time.sleep(1.1)  # TensorBoard distinguishes files by the second
    folder.forget_worker()  # this process lives on
    assert run_worker(folder.path) == 0
    steps = [step for step, _ in curves(folder.path / "tensorboard" / stage)["validation Dice"]]
    assert steps == [4, 8, 12]
    assert -1.0 not in [value for _, value in curves(folder.path / "tensorboard" / stage)["validation Dice"]]


def test_a_missing_package_costs_the_curves_and_nothing_else(toy_dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, events = run_job(tmp_path / "run", job(toy_dataset, parameters=QUICK | {"steps": 4, "validate_every": 4}))
    assert code == 0 and not (tmp_path / "run" / "tensorboard").exists()
    (warning,) = [e["message"] for e in events if e["event"] == "warning" and "TensorBoard" in e["message"]]
    assert "install it" in warning


def test_the_files_belong_to_the_job(toy_run):
    from MedDeepLib.jobs.disk import losses

    assert not [loss for loss in losses(JobFolder(toy_run)) if "not the job's own" in loss]


# --- MLflow -----------------------------------------------------------------------------------------------------------


def test_mlflow_gets_curves_parameters_and_figures(toy_dataset, tmp_path, store):
    code, events = run_job(tmp_path / "first", job(toy_dataset))
    assert code == 0 and not warnings(events)
    (run,) = runs(store)
    assert run.info.status == "FINISHED" and run.info.run_name == "first"
    assert run.data.params["steps"] == "12" and run.data.params["method"] == "unet"
    assert run.data.params["patch_size"] == "[32, 32, 16]" and run.data.params["seed"] == "3"
    assert run.data.params["dataset"] == toy_dataset.name, "no path of this computer leaves it"
    (stage,) = {event["stage"] for event in events if event["event"] == "metrics"}
    for name, points in reported(events).items():
        history = store.get_metric_history(run.info.run_id, f"{stage}/{name}")
        assert [(point.step, point.value) for point in history] == points
    figures = JobFolder(tmp_path / "first").result()["figures"][stage]
    assert run.data.metrics[f"final/{stage}/validation Dice"] == pytest.approx(figures["validation Dice"])


def test_a_resumed_training_goes_on_in_its_run(toy_dataset, tmp_path, store, monkeypatch):
    from MedDeepLib.worker import process as worker

    folder = JobFolder.create(tmp_path / "run", job(toy_dataset))
    with monkeypatch.context() as patch:
        patch.setattr(
            worker.StopRequest,
            "__call__",
            lambda self: any("validation Dice" in e.get("values", {}) for e in folder.events()),
        )
        assert run_worker(folder.path) == 130
    (run,) = runs(store)
    assert run.info.status == "KILLED"
    folder.forget_worker()  # this process lives on
    assert run_worker(folder.path) == 0
    (again,) = runs(store)
    assert again.info.run_id == run.info.run_id and again.info.status == "FINISHED"
    history = store.get_metric_history(run.info.run_id, "unet/validation Dice")
    assert [point.step for point in history] == [4, 8, 12]


def test_a_failed_training_is_a_failed_run(toy_dataset, tmp_path, store, monkeypatch):
    from MedDeepLib.errors import JobError
    from MedDeepLib.training.keeper import Keeper

    def fail(self, engine):
        raise JobError("The loss became nan.")

    monkeypatch.setattr(Keeper, "__call__", fail)
    code, _ = run_job(tmp_path / "run", job(toy_dataset))
    assert code == 3
    (run,) = runs(store)
    assert run.info.status == "FAILED"


def test_a_server_that_is_away_costs_one_warning_and_no_time(toy_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    code, events = run_job(tmp_path / "run", job(toy_dataset))
    assert code == 0 and JobFolder(tmp_path / "run").result()["figures"]
    (warning,) = warnings(events)
    assert NOBODY in warning and "MLFLOW_TRACKING_URI" in warning


def test_a_slow_server_does_not_slow_a_step(toy_dataset, tmp_path, store, monkeypatch):
    """The steps between two reports take as long as without it; only the end waits, and not for long."""
    from MedDeepLib.tracking import mlflow_log
    from mlflow.tracking import MlflowClient

    def slow(self, *arguments, **options):
        time.sleep(30)

    monkeypatch.setattr(MlflowClient, "log_batch", slow)
    monkeypatch.setattr(mlflow_log, "_LAST_SECONDS", 0.5)
    code, events = run_job(tmp_path / "run", job(toy_dataset))
    assert code == 0
    (warning,) = warnings(events)
    assert "did not respond in time" in warning
    began = next(e["time"] for e in events if e["event"] == "phase" and e["phase"].startswith("Training"))
    ended = next(e["time"] for e in events if e["event"] == "phase" and e["phase"].startswith("Saving"))
    assert ended - began < 25


def test_without_an_address_mlflow_is_not_even_imported(toy_dataset, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code, events = run_job(tmp_path / "run", job(toy_dataset, parameters=QUICK | {"steps": 4, "validate_every": 4}))
    assert code == 0 and not warnings(events) and not (tmp_path / "run" / "mlflow.json").exists()


def test_mlflow_that_is_not_installed_is_said(toy_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    for name in ("mlflow", "mlflow.exceptions", "mlflow.tracking", "mlflow.entities"):
        monkeypatch.setitem(sys.modules, name, None)
    code, events = run_job(tmp_path / "run", job(toy_dataset, parameters=QUICK | {"steps": 4, "validate_every": 4}))
    assert code == 0
    (warning,) = warnings(events)
    assert "install mlflow" in warning
