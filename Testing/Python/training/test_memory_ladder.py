"""Out of memory in training: the batch is computed in micro-batches, and everything else stays as it is.

Memory does not really run out; the n-th call of the network raises what torch raises then.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from MedDeepLib.core import Context
from MedDeepLib.devices.memory import is_out_of_memory
from MedDeepLib.errors import OutOfMemory, Stopped
from MedDeepLib.training.engine import train
from MedDeepLib.training.stages import Optimisation, Samples, TrainStage
from toy_stages import IDENTITY, equal, stages, weights

STEPS = 10
CUDA_WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """How many threads add up a sum changes its last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class FailingCalls:
    """Makes a network run out of memory in some of its training calls, before one of its layers."""

    def __init__(self, *numbers: int, error: Exception | None = None, layer: int = -1):
        self._numbers, self._error, self._layer = numbers, error or torch.OutOfMemoryError(CUDA_WORDS), layer
        self.calls = 0

    def attach(self, network: torch.nn.Sequential) -> None:
        network[self._layer].register_forward_pre_hook(self)

    def __call__(self, layer: torch.nn.Module, _) -> None:
        if layer.training:
            self.calls += 1
            if self.calls in self._numbers:
                raise self._error


def run(folder: Path, failing: FailingCalls | None = None, stop_after: int | None = None, **changes):
    """Train the toy method, whose first stage fails as told; returns its weights and the warnings."""
    folder.mkdir(parents=True, exist_ok=True)
    warnings, asked = [], [0]

    def report(event, **fields):
        if event == "warning":
            warnings.append(fields["message"])

    def stop_requested() -> bool:
        asked[0] += 1
        return stop_after is not None and asked[0] > stop_after

    def with_failures(context):
        for stage in stages(context, STEPS, **changes):
            if failing and stage.name == "compress":
                failing.attach(stage.networks["autoencoder"])
            yield stage

    context = Context(torch.device("cpu"), 4, folder, None, report, stop_requested)
    return weights(train(with_failures(context), context, IDENTITY)), warnings


@pytest.fixture(scope="module")
def in_two(one_thread, tmp_path_factory):
    """The weights when the first stage computes its batches in two micro-batches from the start."""
    return run(tmp_path_factory.mktemp("two") / "run", micro_batches=2)[0]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA_WORDS),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"),
        MemoryError(),
    ],
)
def test_the_batch_stays_whole_in_micro_batches(tmp_path, in_two, error):
    """Dropout and running statistics included: the failed forward pass has left no trace."""
    reached, warnings = run(tmp_path, FailingCalls(1, error=error))
    assert equal(reached, in_two)
    assert warnings == [
        "There was not enough memory. From step 1 on every batch of 4 is computed in 2 micro-batches, whose "
        "gradients are added up."
    ]


def test_micro_batches_change_nothing_but_the_rounding_where_samples_do_not_meet(tmp_path):
    def plain(micro_batches: int, failing: FailingCalls | None = None):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        if failing:
            failing.attach(network)

        def sample(number: int):
            return {"image": torch.randn(3, generator=torch.Generator().manual_seed(number))}

        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        stage = TrainStage(
            "plain",
            {"network": network},
            Samples(5, sample=sample),
            loss=lambda output, batch: ((output[:, 0] - batch["image"].prod(1)) ** 2).mean(),
            optimisation=Optimisation(optimizer, 20, max_gradient_norm=0.5, micro_batches=micro_batches),
        )
        folder = tmp_path / f"{micro_batches}{failing is not None}"
        folder.mkdir()
        return torch.cat(
            [value.ravel() for value in weights(train([stage], Context(torch.device("cpu"), 0, folder), {})).values()]
        )

    def close(first, second) -> bool:
        return torch.allclose(first, second, atol=1e-5)

    whole = plain(1)
    assert close(plain(2), whole) and close(plain(5), whole) and close(plain(4), whole)
    assert close(plain(1, FailingCalls(7, 9, 10)), whole)
    assert not close(whole, torch.zeros_like(whole))


def test_resuming_after_a_step_of_the_ladder(tmp_path, in_two):
    """The number of micro-batches is in the checkpoint; the resumed run does not have to fail first."""
    for moment in (0, 1, 6):
        folder = tmp_path / str(moment)
        with pytest.raises(Stopped):
            run(folder, FailingCalls(1), stop_after=moment)
        reached, warnings = run(folder)
        assert equal(reached, in_two) and warnings == []


def test_killed_right_after_a_step_of_the_ladder(tmp_path, in_two):
    """Their number is saved before the step is repeated, so a kill during the step does not lose it."""
    failing = FailingCalls(1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, failing=_Dying(failing))
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (content["progress"]["step"], content["progress"]["micro_batches"]) == (0, 2)
    reached, warnings = run(tmp_path)
    assert equal(reached, in_two) and warnings == []


class _Dying:
    """Dies at the second call, in the middle of the repeated step."""

    def __init__(self, failing: FailingCalls):
        self._failing = failing

    def attach(self, network) -> None:
        network[-1].register_forward_pre_hook(self)

    def __call__(self, layer, inputs) -> None:
        self._failing(layer, inputs)
        if self._failing.calls == 2:
            raise KeyboardInterrupt


def test_when_not_even_one_sample_fits(tmp_path):
    with pytest.raises(OutOfMemory, match=r"a single sample at a time \(cpu\): choose smaller patches") as caught:
        run(tmp_path, FailingCalls(*range(1, 100), layer=0))
    assert (caught.value.kind, caught.value.exit_code) == ("memory", 3)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["progress"]["micro_batches"] == 4


def test_other_errors_are_not_taken_for_lack_of_memory(tmp_path):
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(tmp_path, FailingCalls(3, error=RuntimeError("shapes do not match")))


def test_a_checkpoint_from_before_there_were_micro_batches(tmp_path):
    """It does not contain their number, so a batch is computed in one."""
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=9)
    for file in tmp_path.glob("checkpoint*.pt"):
        content = torch.load(file, weights_only=True)
        del content["progress"]["micro_batches"]
        torch.save(content, file)
    assert equal(run(tmp_path)[0], run(tmp_path / "whole")[0])


def test_stages_with_their_own_update_say_what_was_missing(tmp_path):
    """The engine cannot split a custom update rule."""

    def failing_stages(context):
        *_, stage = list(stages(context))

        def update(engine, batch):
            raise torch.OutOfMemoryError(CUDA_WORDS)

        stage.update = update
        yield stage

    said = []
    report = lambda event, **fields: said.append(fields["message"]) if event == "warning" else None  # noqa: E731
    with pytest.raises(torch.OutOfMemoryError):
        train(failing_stages(context := Context(torch.device("cpu"), 4, tmp_path, report=report)), context, IDENTITY)
    (warning,) = said
    assert "'classify' has an update rule of its own, so a batch that does not fit into memory cannot be" in warning


@pytest.mark.parametrize("error", [RuntimeError("shape"), ValueError("out of memory"), KeyError("alloc"), OSError()])
def test_what_is_not_lack_of_memory(error):
    assert not is_out_of_memory(error)


def test_all_steps_are_done(tmp_path):
    failing = FailingCalls(1)
    run(tmp_path, failing)
    assert failing.calls == 1 + 2 * STEPS
