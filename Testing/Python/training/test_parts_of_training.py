"""Schedules, averaged weights, dtypes, deep supervision, time budgets: each follows its formula."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from MedDeepLib.core import Context
from MedDeepLib.training import precision
from MedDeepLib.training.average import WeightAverage
from MedDeepLib.training.dense.supervision import DeepSupervision
from MedDeepLib.training.engine import train
from MedDeepLib.training.precision import autocast_dtype, loss_scaler
from MedDeepLib.training.samplers import batches_of
from MedDeepLib.training.schedules import Plateau, constant, cosine, polynomial, schedule
from MedDeepLib.training.stages import (
    Optimisation,
    Refresh,
    Samples,
    TrainStage,
    Validation,
    steps_of_epochs,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cosine", "polynomial", "constant"])
def test_every_schedule_rises_and_then_never_rises_again(name):
    factors = [schedule(name, 100, 10)(step) for step in range(100)]
    assert factors[:10] == pytest.approx([n / 10 for n in range(1, 11)], rel=0.02)
    assert all(later <= sooner for sooner, later in zip(factors[10:], factors[11:], strict=False))
    assert factors[-1] == 1 if name == "constant" else factors[-1] < 0.05


def test_schedules_against_their_formulas():
    assert cosine(100)(25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert polynomial(100, power=0.9)(50) == pytest.approx(0.5**0.9)
    assert constant()(12345) == 1
    assert cosine(10)(50) == 0 and polynomial(10)(50) == 0  # a stage that continues longer than planned


def test_plateau_lowers_the_rate_after_validations_without_improvement():
    plateau = Plateau(patience=3)
    assert [plateau.reductions(vain) for vain in range(8)] == [0, 0, 0, 1, 0, 0, 1, 0]


def test_epochs_in_steps():
    assert steps_of_epochs(2, 100, 8) == 25 and steps_of_epochs(0.001, 10, 4) == 1


def a_stage(optimizer=None, validation=None, steps=60, network=None, loss=None, **optimisation) -> TrainStage:
    torch.manual_seed(0)
    network = network or torch.nn.Linear(3, 1)
    x = torch.randn(64, 3)
    data = {"image": x, "target": x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3}
    return TrainStage(
        "line",
        {"network": network},
        Samples(8, batch=batches_of(data, 8, 1)),
        loss=loss or (lambda output, batch: F.mse_loss(output, batch["target"])),
        optimisation=Optimisation(optimizer or torch.optim.SGD(network.parameters(), 0.1), steps, **optimisation),
        validation=validation,
    )


def trained(folder, stage: TrainStage, report=lambda *_, **__: None):
    folder.mkdir(exist_ok=True)
    return train([stage], Context(CPU, 3, folder, None, report), {"method": "line"})


def test_the_plateau_rule_sets_the_optimisers_learning_rate(tmp_path):
    rates = []

    def validate() -> dict[str, float]:
        rates.append(stage.optimisation.optimizer.param_groups[0]["lr"])
        return {"score": 1.0}  # never better than the first time

    stage = a_stage(validation=Validation(validate, "score", every=10), plateau=Plateau(2, 0.1))
    trained(tmp_path, stage)
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_average_against_its_formula():
    network = torch.nn.Linear(2, 1)
    average, expected = WeightAverage({"n": network}, 0.9), network.weight.detach().clone()
    for count in range(1, 200):
        with torch.no_grad():
            network.weight.fill_(count)
        average.update()
        kept = min(0.9, count / (count + 10))
        expected = kept * expected + (1 - kept) * count
    with average.in_use():
        torch.testing.assert_close(network.weight.detach(), expected)
    assert (network.weight == 199).all()
    average.use()
    torch.testing.assert_close(network.weight.detach(), expected)


def test_the_averaged_weights_are_validated_and_kept(tmp_path):
    """With a learning rate so high that the weights jump about, their average is much closer to the truth."""

    def validate() -> dict[str, float]:
        seen.append(stage.networks["network"].weight.detach().clone())
        return {"error": -float((seen[-1] - torch.tensor([[1.0, -2.0, 0.5]])).abs().max())}

    errors = {}
    for decay in (0.0, 0.97):
        seen = []
        noise = torch.Generator().manual_seed(5)

        def loss(output, batch, noise=noise):
            return F.mse_loss(output, batch["target"] + 2 * torch.randn(output.shape, generator=noise))

        stage = a_stage(steps=400, loss=loss, average=decay, validation=Validation(validate, "error", every=400))
        outcome = trained(tmp_path / str(decay), stage)
        assert torch.equal(outcome.networks["network"].weight, seen[-1])
        errors[decay] = -outcome.metrics["line"]["error"]
    assert errors[0.97] < 0.6 * errors[0.0]


def test_without_validation_the_average_is_kept_too(tmp_path):
    plain = trained(tmp_path / "plain", a_stage()).networks["network"].weight
    averaged = trained(tmp_path / "averaged", a_stage(average=0.99)).networks["network"].weight
    assert not torch.equal(plain, averaged)


def test_dtypes_without_a_gpu():
    assert autocast_dtype("float32", CPU) is None
    assert autocast_dtype("bfloat16", CPU) is torch.bfloat16 and autocast_dtype("float16", CPU) is torch.float16
    assert not loss_scaler(torch.bfloat16, CPU).is_enabled() and loss_scaler(torch.float16, CPU).is_enabled()


@pytest.mark.parametrize(
    ("machine", "instructions", "has", "expected"),
    [
        ("x86_64", "AVX512", {"_is_avx512_bf16_supported"}, torch.bfloat16),
        ("AMD64", "AVX512", {"_is_amx_tile_supported"}, torch.bfloat16),
        ("x86_64", "AVX512", set(), None),
        ("x86_64", "AVX2", {"_is_avx512_bf16_supported"}, None),  # ATEN_CPU_CAPABILITY=avx2
        ("aarch64", "DEFAULT", {"_is_mkldnn_bf16_supported"}, torch.bfloat16),
        ("arm64", "DEFAULT", set(), None),
    ],
)
def test_dtypes_by_processor(monkeypatch, machine, instructions, has, expected):
    """bfloat16 only if the CPU has instructions for it, as torch reports."""
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in has, raising=False)
    arm = SimpleNamespace(_is_mkldnn_bf16_supported=lambda: "_is_mkldnn_bf16_supported" in has)
    monkeypatch.setattr(precision.torch.ops, "mkldnn", arm)
    assert autocast_dtype("auto", CPU) is expected
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert autocast_dtype("auto", CPU) is None, "without oneDNN nothing uses them"


def test_a_version_of_torch_that_cannot_be_asked_computes_in_float32(monkeypatch):
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert autocast_dtype("auto", CPU) is None


@pytest.mark.parametrize(
    ("capability", "emulates", "expected"),
    [((9, 0), True, torch.bfloat16), ((7, 5), False, torch.float16), ((6, 1), False, None)],
)
def test_dtypes_by_gpu(monkeypatch, capability, emulates, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: emulates)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert autocast_dtype("auto", torch.device("cuda:0")) is expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_training_in_half_precision_learns(tmp_path, dtype):
    outcome = trained(tmp_path, a_stage(dtype=dtype, steps=200, max_gradient_norm=10.0))
    torch.testing.assert_close(
        outcome.networks["network"].weight.detach(), torch.tensor([[1.0, -2.0, 0.5]]), atol=0.05, rtol=0
    )


def test_gradients_too_small_for_float16_still_count_and_one_too_large_does_no_harm(tmp_path):
    """Without a scaled loss the first would be lost; a step whose gradients overflow is left out."""
    calls = [0]

    def loss(output, batch):
        calls[0] += 1
        factor = 1e38 if calls[0] == 30 else 1e-7
        return F.mse_loss(output.float(), batch["target"]) * factor

    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.linear = torch.nn.Linear(3, 1)

        def forward(self, x):
            return self.linear(x)

    network = Half()
    optimizer = torch.optim.SGD(network.parameters(), 1e6)
    stage = a_stage(network=network, optimizer=optimizer, loss=loss, dtype=torch.float16, steps=200)
    outcome = trained(tmp_path, stage)
    found = outcome.networks["network"].linear.weight.detach()
    torch.testing.assert_close(found, torch.tensor([[1.0, -2.0, 0.5]]), atol=0.05, rtol=0)


def test_the_time_ends_a_stage_and_the_learning_rate_falls_with_it(tmp_path):
    import time

    messages, rates = [], []

    def loss(output, batch):
        time.sleep(0.005)
        rates.append(stage.optimisation.optimizer.param_groups[0]["lr"])
        return F.mse_loss(output, batch["target"])

    def report(event, **fields):
        if event == "message":
            messages.append(fields["message"])

    stage = a_stage(steps=1_000_000, seconds=0.5, loss=loss, learning_rate=cosine(1_000_000))
    outcome = trained(tmp_path, stage, report)
    assert 10 < outcome.metrics["line"]["steps"] <= 100
    assert "The time for 'line' is up" in messages[0]
    assert rates[0] == pytest.approx(0.1, rel=0.01) and rates[-1] < 0.01


def test_deep_supervision_halves_the_weight_with_every_level():
    label = torch.randint(0, 3, (2, 1, 8, 8))
    outputs = [torch.randn(2, 3, n, n) for n in (8, 4, 2)]

    def loss(scores, batch):
        return F.cross_entropy(scores, batch["label"][:, 0])

    coarse = [F.interpolate(label.float(), size=(n, n), mode="nearest")[:, 0].long() for n in (8, 4, 2)]
    parts = [F.cross_entropy(scores, truth) for scores, truth in zip(outputs, coarse, strict=True)]
    expected = (parts[0] + parts[1] / 2 + parts[2] / 4) / 1.75
    torch.testing.assert_close(DeepSupervision(loss)(outputs, {"label": label}), expected)
    torch.testing.assert_close(DeepSupervision(loss)(outputs[0], {"label": label}), parts[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": Samples(8)}, "either sample or batch"),
        ({"loss": None}, "either loss or update"),
        ({"optimisation": Optimisation()}, "one optimizer"),
        ({"refresh": Refresh(print, 0)}, "refresh every 1 or more"),
        ({"loss": None, "update": print, "forward": print}, "would not use forward"),
    ],
)
def test_a_stage_without_what_it_needs_is_refused_at_once(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(a_stage(), **changes)
