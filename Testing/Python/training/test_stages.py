"""Stages of all kinds: their results, resuming them, and the forms that a batch and an output may have."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from MedDeepLib.core import Context
from MedDeepLib.errors import Stopped, UserError
from MedDeepLib.training.batches import BatchStream, keeping_lists
from MedDeepLib.training.checkpoint import remove_checkpoints
from MedDeepLib.training.engine import train
from MedDeepLib.training.nested import in_float32, split
from MedDeepLib.training.samplers import batches_of
from MedDeepLib.training.stages import DataStage, FitStage, Optimisation, Samples, TrainStage, Validation
from toy_stages import IDENTITY, equal, weights
from toy_stages import run as run_toy

ITEMS, STEPS = 5, 12


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """How many threads add up a sum changes its last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Method:
    """Items, arrays fitted to them, a network trained on both, and arrays fitted to the network's output."""

    def __init__(self):
        self.made, self.fitted = [], 0

    def stages(self, context: Context):
        def make(number: int):
            self.made.append(number)
            return {"x": torch.randn(3, generator=torch.Generator().manual_seed(number))}

        def fit(context):
            self.fitted += 1
            return {"mean": torch.stack([item["x"] for item in items]).mean(0), "count": torch.tensor(len(items))}

        yield (items := DataStage("items", ITEMS, make))
        yield (centre := FitStage("centre", fit))
        torch.manual_seed(1)
        network = torch.nn.Linear(3, 1)
        yield TrainStage(
            "line",
            {"network": network},
            Samples(2, sample=lambda number: {"image": items[number % ITEMS]["x"] - centre.arrays["mean"]}),
            loss=lambda output, batch: F.mse_loss(output[:, 0], batch["image"].sum(1)),
            optimisation=Optimisation(torch.optim.Adam(network.parameters(), 0.1), STEPS),
        )
        with torch.no_grad():
            answers = torch.cat([network(item["x"]) for item in items])
        yield FitStage("largest", lambda context: {"value": answers.max()})


def run(folder, stages, stop_after: int | None = None, report=None, identity=IDENTITY):
    """Train in ``folder``; it stops when asked for the ``stop_after``-th time."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = [0]

    def stop_requested() -> bool:
        asked[0] += 1
        return stop_after is not None and asked[0] > stop_after

    context = Context(torch.device("cpu"), 4, folder, None, report or (lambda *_, **__: None), stop_requested)
    return train(stages(context), context, identity)


def same(first, second) -> bool:
    one, other = first.weights(), second.weights()
    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed"), Method().stages)


@pytest.mark.parametrize("moment", [0, 1, ITEMS - 1, ITEMS, ITEMS + 1, ITEMS + STEPS - 2])
def test_stages_of_all_kinds_are_resumed_and_make_nothing_twice(undisturbed, tmp_path, moment):
    method = Method()
    with pytest.raises(Stopped):
        run(tmp_path, method.stages, stop_after=moment)
    assert method.made == list(range(min(moment, ITEMS)))
    assert same(run(tmp_path, method.stages), undisturbed)
    assert method.made == list(range(ITEMS)) and method.fitted == 1
    assert same(run(tmp_path, method.stages), undisturbed) and method.fitted == 1, "and when there is nothing to do"


def test_arrays_are_saved_by_the_name_of_their_stage_as_tensors_and_nothing_else(undisturbed, tmp_path):
    assert set(undisturbed.weights()) == {"network", "centre", "largest"}
    assert undisturbed.arrays["centre"]["count"] == ITEMS
    run(tmp_path, Method().stages)
    assert torch.load(tmp_path / "stage.1.pt", weights_only=True)["arrays"]["count"] == ITEMS


def test_an_item_that_is_damaged_or_deleted(undisturbed, tmp_path):
    method, file = Method(), tmp_path / "items.0" / "000003.pt"
    with pytest.raises(Stopped):
        run(tmp_path, method.stages, stop_after=ITEMS + 3)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="Item 3 of 'items' .*000003.pt. is missing or damaged: delete this file and"):
        run(tmp_path, method.stages)
    file.unlink()
    assert same(run(tmp_path, method.stages), undisturbed)
    assert method.made == [*range(ITEMS), 3]


def test_items_of_a_training_whose_checkpoint_was_deleted_are_made_again(tmp_path):
    method = Method()
    with pytest.raises(Stopped):
        run(tmp_path, method.stages, stop_after=3)
    for file in tmp_path.glob("*.pt"):
        file.unlink()
    run(tmp_path, method.stages, identity={"method": "another"})
    assert method.made == [0, 1, 2, *range(ITEMS)]
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_events_tell_what_is_made(tmp_path):
    events = []
    run(tmp_path, Method().stages, report=lambda event, **fields: events.append((event, fields)))
    phases = [fields["phase"] for event, fields in events if event == "phase"]
    assert phases == ["Making data: items", "Fitting: centre", "Training: line", "Fitting: largest"]
    assert ("progress", {"stage": "items", "step": ITEMS, "total": ITEMS, "remaining": 0.0}) in events


def test_results_are_not_there_before_their_stage_has_run():
    with pytest.raises(RuntimeError, match="'pca' has not run yet: yield it"):
        _ = FitStage("pca", lambda context: {}).arrays
    with pytest.raises(RuntimeError, match="'items' has not run yet: yield it"):
        DataStage("items", 3, lambda number: {})[0]
    with pytest.raises(IndexError):
        DataStage("items", 3, lambda number: {})[3]


@pytest.mark.parametrize("wrong", [[1, 2], {"model": object()}, {1: torch.zeros(1)}])
def test_what_is_not_tensors_by_name_is_refused(tmp_path, wrong):
    with pytest.raises(TypeError, match="what stage 'svm' returns must be tensors by name"):
        run(tmp_path, lambda context: [FitStage("svm", lambda context: wrong)])
    with pytest.raises(TypeError, match="item 0 of stage 'items' must be tensors by name"):
        run(tmp_path, lambda context: [DataStage("items", 1, lambda number: wrong)])
    with pytest.raises(TypeError, match="a method yields a TrainStage, FitStage or DataStage, not int"):
        run(tmp_path, lambda context: [1])


# --- names


def a_stage(name: str, network: torch.nn.Module, steps: int = 3, **changes) -> TrainStage:
    data = {"image": torch.ones(4, 2), "target": torch.ones(4, 1)}
    settings = {
        "loss": lambda output, batch: F.mse_loss(output, batch["target"]),
        "optimisation": Optimisation(torch.optim.SGD(network.parameters(), 0.1), steps),
    }
    return TrainStage(name, {"network": network}, Samples(4, batch=batches_of(data, 4, 0)), **settings | changes)


def test_networks_of_one_name_are_both_kept(tmp_path):
    first, second = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    trained = run(tmp_path, lambda context: [a_stage("a", first), a_stage("b", second), a_stage("c", first)])
    assert trained.networks == {"a/network": first, "b/network": second}


def test_stages_of_one_name_are_refused(tmp_path):
    network = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match="two stages are called 'a'"):
        run(tmp_path, lambda context: [a_stage("a", network), a_stage("a", network)])


def test_a_checkpoint_of_a_method_whose_stages_have_changed(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, lambda context: [a_stage("a", torch.nn.Linear(2, 1))], stop_after=1)
    with pytest.raises(UserError, match="by another version of the method .stage 'a' instead of 'fit'.: train in"):
        run(tmp_path, lambda context: [FitStage("fit", lambda context: {})])


# --- any batch, any output


class Detector(torch.nn.Module):
    """A value for each image of a list, of different sizes; in training it also counts its inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer = torch.nn.Linear(1, 2)
        self.register_buffer("shown", torch.zeros(()))

    def forward(self, images):
        self.shown += len(images)
        values = torch.stack([self.layer(image.reshape(-1, 1)).mean(0) for image in images])
        return {"size": values[:, 0], "pair": (values[:, 1], [values])}


def detection(context, micro_batches=1, dtype=None, failing=(), seen=None):
    """A different number of boxes in each sample, an output of dictionaries, tuples and lists."""
    network, calls = Detector(), [0]

    def sample(number: int):
        generator = torch.Generator().manual_seed(number)
        count = 1 + number % 4
        image = torch.rand(3 + count, 2, generator=generator)
        return {"image": image, "boxes": torch.rand(count, 6, generator=generator), "number": number}

    def forward(networks, batch):
        calls[0] += 1
        if calls[0] in failing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return networks["detector"](batch["image"])

    def loss(output, batch):
        assert all(value.dtype is torch.float32 for value in (output["size"], *output["pair"][:1], *output["pair"][1]))
        if seen is not None:
            seen.append(batch["number"].tolist())
        wanted = torch.stack([boxes.sum(0).mean() for boxes in batch["boxes"]])
        return F.mse_loss(output["size"] + output["pair"][0], wanted)

    yield TrainStage(
        "detect",
        {"detector": network},
        Samples(5, sample=sample, collate=keeping_lists("image", "boxes")),
        loss=loss,
        forward=forward,
        optimisation=Optimisation(
            torch.optim.SGD(network.parameters(), 0.02), 20, micro_batches=micro_batches, dtype=dtype,
            max_gradient_norm=5.0,
        ),
    )  # fmt: skip


def test_lists_of_boxes_are_split_into_micro_batches(tmp_path):
    seen = []
    whole = weights(run(tmp_path / "1", detection))
    for count in (2, 3, 5, 9):
        split = weights(run(tmp_path / str(count), lambda context, n=count: detection(context, n, seen=seen)))
        assert all(torch.allclose(split[name], whole[name], atol=1e-5) for name in whole)
    assert seen[:4] == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9]]


def test_lists_of_boxes_after_running_out_of_memory(tmp_path):
    expected = weights(run(tmp_path / "two", lambda context: detection(context, 2)))
    reached = weights(run(tmp_path / "out of memory", lambda context: detection(context, failing=(1,))))
    assert equal(reached, expected), "with the same number of images shown: the failed attempt has left no trace"


def test_nested_outputs_of_half_precision_reach_the_loss_in_float32(tmp_path):
    run(tmp_path, lambda context: detection(context, 2, torch.bfloat16))


@pytest.mark.parametrize("whole", [False, True])
def test_whatever_a_batch_holds_is_moved_to_the_device_and_split_there(whole):
    """The meta device stands in for a GPU."""
    network = torch.nn.Linear(1, 1)

    def sample(number: int):
        return {"image": torch.ones(number + 1), "boxes": [torch.ones(2)], "name": f"case {number}"}

    def batch(number: int):
        return {"image": [torch.ones(n + 1) for n in range(4)], "boxes": torch.ones(4, 2), "name": "all"}

    data = Samples(4, batch=batch) if whole else Samples(4, sample=sample, collate=keeping_lists("image", "boxes"))
    stage = TrainStage(
        "s", {"n": network}, data, loss=print, optimisation=Optimisation(torch.optim.SGD(network.parameters(), 0.1), 2)
    )
    wanted = [3]
    first, second = BatchStream(stage, device=torch.device("meta"), micro_batches=lambda: wanted[0])
    assert first.size == 4 and [share for _, share in first.pieces] == [0.5, 0.25, 0.25]
    for piece, _ in [*first.pieces, *second.again(4).pieces]:
        boxes = piece["boxes"] if whole else [box for each in piece["boxes"] for box in each]
        assert all(tensor.is_meta for tensor in [*piece["image"], *boxes])
    assert [len(piece["image"]) for piece, _ in first.pieces] == [2, 1, 1]


def test_splitting_what_a_batch_may_hold():
    batch = {"image": torch.arange(5), "boxes": list("abcde"), "pair": (torch.arange(10).reshape(5, 2), "same"), "n": 3}
    (first, two), (second, three) = reversed(split(batch, 2))
    assert (two, three) == (2, 3)
    assert first["boxes"] == ["d", "e"] and second["image"].tolist() == [0, 1, 2]
    assert first["pair"][0].tolist() == [[6, 7], [8, 9]] and first["pair"][1] == "same" and first["n"] == 3
    with pytest.raises(ValueError, match="cannot be split"):
        split({"n": 3}, 2)


def test_float32_in_any_nesting():
    half = torch.ones(2, dtype=torch.float16)
    found = in_float32({"a": [half, (half, 7)], "classes": torch.ones(2, dtype=torch.long)})
    assert found["a"][0].dtype is found["a"][1][0].dtype is torch.float32 and found["a"][1][1] == 7
    assert found["classes"].dtype is torch.long


# --- custom updates


def warnings_of(tmp_path, stage: TrainStage) -> list[str]:
    said = []
    run(tmp_path, lambda context: [stage], report=lambda event, **fields: said.append((event, fields)))
    return [fields["message"] for event, fields in said if event == "warning"]


def own_rule(**optimisation) -> TrainStage:
    return a_stage(
        "own", torch.nn.Linear(2, 1), loss=None, update=lambda engine, batch: {"loss": 0.0},
        optimisation=Optimisation(steps=2, **optimisation),
    )  # fmt: skip


def test_an_own_update_says_in_one_warning_what_it_does_not_follow(tmp_path):
    assert warnings_of(tmp_path / "plain", own_rule()) == []
    settings = {"dtype": torch.float16, "max_gradient_norm": 1.0, "micro_batches": 2}
    assert warnings_of(tmp_path / "all", own_rule(**settings)) == [
        "Stage 'own' has an update rule of its own, so losses are not scaled for float16, gradients are not clipped "
        "and batches are not split into micro-batches."
    ]
    assert warnings_of(tmp_path / "one", own_rule(max_gradient_norm=1.0)) == [
        "Stage 'own' has an update rule of its own, so gradients are not clipped."
    ]


# --- validation


def test_a_metric_may_be_better_when_it_is_lower(tmp_path):
    values = iter([0.5, 0.2, 0.9, 0.3])
    network = torch.nn.Linear(2, 1)
    validation = Validation(lambda: {"error": next(values)}, "error", every=1, direction=-1, chance=0.1)
    trained = run(tmp_path, lambda context: [a_stage("a", network, steps=4, validation=validation)])
    assert trained.metrics["a"] == {"steps": 4, "error": 0.2, "best step": 2}
    assert trained.key_metrics["a"].learned_nothing


# --- checkpoints of the last version


def as_the_last_version_wrote_it(folder) -> None:
    """Only the field names of that version."""
    names = {"best_score": "best_figure", "micro_batches": "parts"}
    for file in folder.glob("*.pt"):
        content = torch.load(file, weights_only=True)
        old = {"format": 2, "identity": content["identity"], "networks": content["networks"]}
        if "progress" in content:
            progress, *finished = (
                {names.get(name, name): value for name, value in each.items()}
                for each in (content["progress"], *content["finished"])
            )
            assert set(progress) == {
                "stage_index", "step", "batches", "seconds", "best_figure", "best_step", "validations_without_gain",
                "reductions", "refresh_due", "validation_due", "finished", "parts",
            }  # fmt: skip
            old |= {"progress": progress, "finished": finished, "others": content["others"]}
        torch.save(old, file)


@pytest.mark.parametrize("moment", [9, 55])
def test_a_checkpoint_of_the_last_version_is_resumed(tmp_path, moment):
    whole = run_toy(tmp_path / "whole")
    with pytest.raises(Stopped):
        run_toy(tmp_path / "cut", stop_after=moment)
    as_the_last_version_wrote_it(tmp_path / "cut")
    resumed = run_toy(tmp_path / "cut")
    assert equal(weights(resumed), weights(whole)) and resumed.metrics == whole.metrics
