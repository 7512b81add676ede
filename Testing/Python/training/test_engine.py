"""The stage engine: it learns, and resuming after any interruption gives the weights of an uninterrupted run."""

from __future__ import annotations

import json
import multiprocessing
import random
import time

import pytest
import torch
from MedDeepLib.errors import JobError, Stopped, UserError
from MedDeepLib.jobs.events import EventWriter
from toy_stages import IDENTITY, STEPS, equal, run, run_and_save, weights


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """How many threads add up a sum changes its last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed(one_thread, tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed"))


def resume(folder, **changes):
    return run(folder, **changes)


def test_both_stages_learn(undisturbed, tmp_path):
    untrained = run(tmp_path, learning_rate=lambda step: 0.0)
    assert undisturbed.metrics["compress"]["fit"] > -1.5 > -3 > untrained.metrics["compress"]["fit"]
    assert undisturbed.metrics["classify"]["correct"] > 0.8
    assert set(undisturbed.networks) == {"autoencoder", "head", "encoder"}


def test_the_same_seed_gives_the_same_weights(undisturbed, tmp_path):
    again = run(tmp_path / "same")
    assert equal(weights(again), weights(undisturbed)) and again.metrics == undisturbed.metrics
    assert not equal(weights(run(tmp_path / "other", seed=5)), weights(undisturbed))


@pytest.mark.parametrize("moment", [0, 1, 6, 7, 25, STEPS - 1, STEPS, STEPS + 1, STEPS + 9, STEPS + 30])
def test_stopped_and_resumed_is_as_if_never_stopped(undisturbed, tmp_path, moment):
    """In either stage, at a validation, on the last step of a stage or the first of the next."""
    try:
        run(tmp_path, stop_after=moment)
    except Stopped:
        assert (tmp_path / "checkpoint.pt").exists()
    outcome = resume(tmp_path)
    assert equal(weights(outcome), weights(undisturbed))
    assert outcome.metrics == undisturbed.metrics


def test_stopped_again_and_again(undisturbed, tmp_path):
    for _ in range(100):
        try:
            outcome = run(tmp_path, stop_after=8)
            break
        except Stopped:
            continue
    assert equal(weights(outcome), weights(undisturbed)) and outcome.metrics == undisturbed.metrics


def test_resuming_what_is_finished_changes_nothing(undisturbed, tmp_path):
    run(tmp_path)
    again = resume(tmp_path)
    assert equal(weights(again), weights(undisturbed)) and again.metrics == undisturbed.metrics


def test_metrics_are_numbers_that_json_has(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=STEPS + 5)
    assert "Infinity" not in json.dumps(resume(tmp_path).metrics)


def killed_at_random_moments(folder, seed: int, kills: int) -> None:
    """Kill the training process ``kills`` times, then let it end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_stages", "monai.engines"])
    moments = random.Random(seed)
    for number in range(kills + 1):
        process = context.Process(target=run_and_save, args=(folder,), kwargs={"pause": 0.002})
        process.start()
        if number < kills:
            process.join(moments.uniform(0.1, 1.0))
            process.kill()
        process.join(60)
    assert (folder / "weights.pt").exists()


def check_killed(tmp_path, undisturbed, seed: int, kills: int) -> None:
    killed_at_random_moments(tmp_path, seed, kills)
    assert equal(torch.load(tmp_path / "weights.pt"), weights(undisturbed))


@pytest.mark.parametrize("seed", range(2))
def test_killed_and_resumed_is_as_if_never_killed(undisturbed, tmp_path, seed):
    check_killed(tmp_path, undisturbed, seed, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_killed_often_and_resumed(undisturbed, tmp_path, seed):
    check_killed(tmp_path, undisturbed, seed, kills=8)


def test_patience_ends_a_stage_early_and_keeps_its_best_weights(tmp_path):
    outcome = run(tmp_path / "whole", patience=1, learning_rate=lambda step: 0.0 if step < 14 else 30.0)
    metrics = outcome.metrics["compress"]
    assert metrics["steps"] < STEPS and metrics["best step"] < metrics["steps"]
    with pytest.raises(Stopped):
        run(tmp_path / "cut", patience=1, learning_rate=lambda step: 0.0 if step < 14 else 30.0, stop_after=16)
    again = run(tmp_path / "cut", patience=1, learning_rate=lambda step: 0.0 if step < 14 else 30.0)
    assert equal(weights(again), weights(outcome)) and again.metrics == outcome.metrics


def test_stopped_during_a_validation(undisturbed, tmp_path, monkeypatch):
    """An interrupted validation is repeated after resuming, so patience and best weights do not change."""
    from MedDeepLib.training.keeper import Keeper

    original, calls = Keeper._validate, [0]

    def cut_short(self, *arguments):
        calls[0] += 1
        if calls[0] == 3:
            raise Stopped
        original(self, *arguments)

    monkeypatch.setattr(Keeper, "_validate", cut_short)
    with pytest.raises(Stopped):
        run(tmp_path)
    outcome = resume(tmp_path)
    assert calls[0] > 3
    assert equal(weights(outcome), weights(undisturbed)) and outcome.metrics == undisturbed.metrics


def test_died_between_the_best_weights_and_the_checkpoint_of_the_second_stage(undisturbed, tmp_path, monkeypatch):
    """The first stage's best weights are needed again, so the second stage's must not replace them."""
    from MedDeepLib.training.checkpoint import CheckpointStore

    original = CheckpointStore.save

    def die(store, content):
        if content["progress"]["stage_index"] == 1:
            raise KeyboardInterrupt
        original(store, content)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "save", die)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert (tmp_path / "best.1.pt").exists()
    outcome = resume(tmp_path)
    assert equal(weights(outcome), weights(undisturbed)) and outcome.metrics == undisturbed.metrics


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training_with_the_last_good_checkpoint(tmp_path, bad):
    def rate(step: int) -> float:
        return 1.0 if step < 20 else bad

    with pytest.raises(JobError) as caught:
        run(tmp_path, learning_rate=rate)
    assert "The loss became nan" in str(caught.value) and "try a lower learning rate" in str(caught.value)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert content["progress"]["step"] <= 20
    assert all(torch.isfinite(value).all() for value in content["networks"]["autoencoder"].values())
    best = torch.load(tmp_path / "best.0.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in best["networks"]["autoencoder"].values())


def test_other_settings_are_refused(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=9)
    for changes in ({"identity": {**IDENTITY, "parameters": {"depth": 2}}}, {"seed": 9}):
        with pytest.raises(UserError, match="was made with other settings"):
            resume(tmp_path, **changes)


def test_an_error_in_a_sample_reaches_the_caller(tmp_path):
    from toy_stages import stages

    def broken(number):
        raise UserError(f"Sample {number} is bad.")

    def broken_stages(context):
        stage = next(stages(context))
        stage.data.sample = broken
        yield stage

    from MedDeepLib.core import Context
    from MedDeepLib.training.engine import train

    context = Context(torch.device("cpu"), folder=tmp_path)
    with pytest.raises(UserError, match="Sample 0 is bad"):
        train(broken_stages(context), context, IDENTITY)


def test_events_tell_both_stages_to_their_ends(tmp_path):
    writer = EventWriter(tmp_path / "events.jsonl")
    run(tmp_path / "run", report=writer)
    from MedDeepLib.jobs.events import EventReader

    events = EventReader(tmp_path / "events.jsonl").read()
    assert [e["phase"] for e in events if e["event"] == "phase"] == ["Training: compress", "Training: classify"]
    last = {e["stage"]: (e["step"], e["total"]) for e in events if e["event"] == "progress"}
    assert last == {"compress": (STEPS, STEPS), "classify": (STEPS, STEPS)}
    steps = [e["step"] for e in events if e["event"] == "metrics" and "fit" in e["values"]]
    assert steps == [*range(7, STEPS, 7), STEPS]


def test_validation_leaves_the_networks_modes_as_they_were(tmp_path):
    """Also for networks that the update rule controls instead of the trainer, and for frozen parts."""
    from MedDeepLib.core import Context
    from MedDeepLib.training.engine import train
    from toy_stages import stages

    seen = []

    def watched(context):
        *_, stage = list(stages(context))
        head, encoder = stage.networks.values()
        head[0].eval()
        update = stage.update

        def watching(engine, batch):
            seen.append((head.training, head[0].training, encoder.training))
            return update(engine, batch)

        stage.update = watching
        yield stage

    context = Context(torch.device("cpu"), folder=tmp_path)
    train(watched(context), context, IDENTITY)
    assert set(seen) == {(True, False, True)}


def test_batches_come_in_order_whatever_the_threads():
    from MedDeepLib.training.batches import BatchStream
    from MedDeepLib.training.stages import Optimisation, Samples, TrainStage

    def sample(number: int):
        time.sleep(random.uniform(0, 0.003))
        return {"image": torch.tensor(number)}

    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    stage = TrainStage(
        "s", {"n": network}, Samples(3, sample=sample), loss=lambda output, batch: output,
        optimisation=Optimisation(optimizer, 12),
    )  # fmt: skip
    for threads in (0, 1, 4):
        stream = BatchStream(stage, first_step=5, threads=threads)
        batches = [batch.pieces[0][0]["image"].tolist() for batch in stream]
        assert len(stream) == 7
        assert batches == [[3 * step, 3 * step + 1, 3 * step + 2] for step in range(5, 12)]
