"""Parameters derived from data and device are sensible, fit the memory, and are shown, recorded and kept."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from MedDeepLib.core import Context, from_mapping, get, to_mapping
from MedDeepLib.core.registry import task
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.devices import preflight
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.job import Job
from MedDeepLib.worker.training import configured_method
from SegmentModuleLib.methods.unet import UNet, UNetParameters
from SegmentModuleLib.worker.configuration import Configuration, decide, first_fitting
from SegmentModuleLib.worker.fingerprint import Fingerprint
from SegmentModuleLib.worker.memory import Need, memory_to_count_on, patch_of
from SegmentModuleLib.worker.reasons import explain

BRAIN = ((181, 217, 181), (1.0, 1.0, 1.0))
THICK = ((512, 512, 24), (0.5, 0.5, 5.0))
SAGITTAL = ((20, 320, 320), (4.0, 0.6, 0.6))
ABDOMEN = ((512, 512, 400), (0.8, 0.8, 1.0))
THIN = ((256, 256, 5), (1.0, 1.0, 6.0))
TINY = ((10, 12, 8), (1.0, 1.0, 1.0))


def images(*grids, cases: int = 20, channels: int = 1, classes: int = 4) -> Fingerprint:
    shapes, spacings = zip(*[grids[number % len(grids)] for number in range(cases)], strict=True)
    return Fingerprint(spacings, shapes, channels, classes)


def choose(
    found: Fingerprint, device: str = "cuda", free: float = 1e12, method: str = "unet", **values
) -> Configuration:
    method_class = get("segment", method)
    dtype = torch.bfloat16 if device == "cuda" else None
    need = Need(found.channels, found.classes, device, dtype)
    return decide(method_class(from_mapping(method_class.Parameters, values)), found, need, int(free))


def used(configuration: Configuration) -> float:
    """The share of the planned memory that it needs."""
    method = configuration.method
    return configuration.need.bytes(method, method.parameters.batch_size) / configuration.budget_bytes


def check_that_it_trains(configuration: Configuration) -> None:
    """Count a step of the chosen network with its patch, and run one on fewer voxels with fewer features."""
    method, need = configuration.method, configuration.need
    patch, steps = patch_of(method), method.downsampling[: method.dimensions]
    assert all(n % step == 0 for n, step in zip(patch, steps, strict=True))
    assert need.bytes(method, method.parameters.batch_size) > 0
    thin = {"filters": 8} if method.name == "segresnet" else {"features": (2,) * len(method.parameters.features)}
    small = (2 * steps[0], *steps[1:])
    network = type(method)(replace(method.parameters, patch_size=small, **thin)).network(need.channels, 2)
    scores = network(torch.randn(1, need.channels, *small))
    assert scores.shape == (1, 2, *small)
    scores.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def each_once(cases: list[tuple], *others: list) -> list:
    """All combinations of cases and ``others``; the quick ones have each case once and cycle through the others."""
    combinations = list(itertools.product(*others))
    return [
        pytest.param(*case, *other, marks=() if number % len(combinations) == place else pytest.mark.slow)
        for number, case in enumerate(cases)
        for place, other in enumerate(combinations)
    ]


@pytest.mark.parametrize(
    "method, grid, gigabytes",
    each_once(
        [("unet", BRAIN), ("unet", THICK), ("unet", SAGITTAL), ("unet", ABDOMEN), ("segresnet", BRAIN)], [24, 2, 8]
    ),
)
def test_a_plan_for_a_card_fits_and_leaves_little_unused(method, grid, gigabytes):
    found = choose(images(grid), memory=gigabytes, method=method)
    assert found.budget_bytes == gigabytes * 1e9
    assert used(found) <= 1 and (used(found) > 0.6 or found.is_whole)
    check_that_it_trains(found)


def test_nothing_more_is_counted_on_than_is_free_and_sensible():
    assert memory_to_count_on(0, int(3e9)) == 2.7e9
    assert memory_to_count_on(0, int(80e9)) == 8e9, "no absurd patches on a huge card"
    assert memory_to_count_on(40, int(80e9)) == 40e9
    assert memory_to_count_on(40, int(10e9)) == 9e9, "more is not there"
    found = choose(images(BRAIN), free=3e9)
    assert found.budget_bytes == 2.7e9 and 0.6 < used(found) <= 1


IMAGES = {
    "thick slices": images(THICK),
    "few slices": images(THIN),
    "tiny": images(TINY),
    "mixed": images(BRAIN, ABDOMEN, THICK),
    "many channels and classes": images(BRAIN, channels=7, classes=60),
}


@pytest.mark.parametrize(
    "found, method, device", each_once([(name,) for name in IMAGES], ["unet", "segresnet"], ["cpu", "cuda"])
)
def test_every_plan_makes_a_network_that_trains(found, method, device):
    check_that_it_trains(choose(IMAGES[found], device, method=method))


def test_a_card_trains_on_about_what_nnunet_does():
    parameters = choose(images(BRAIN)).method.parameters
    assert parameters.patch_size == (128, 160, 128) and parameters.batch_size == 2
    assert parameters.features == (32, 64, 128, 256, 320, 320) and parameters.resolution == "full"
    assert parameters.strides == "1x1x1, " + ", ".join(["2x2x2"] * 5)


def test_thick_slices_are_halved_late():
    parameters = choose(images(THICK)).method.parameters
    assert parameters.spacing == (0.5, 0.5, 5.0)
    assert parameters.strides.startswith("1x1x1, 2x2x1, 2x2x1, 2x2x1, 2x2x2")
    assert parameters.kernels.startswith("3x3x1, 3x3x1, 3x3x1, 3x3x3")
    assert parameters.patch_size[0] > 10 * parameters.patch_size[2]


def test_a_processor_is_planned_for_by_its_speed():
    parameters = choose(images(BRAIN), "cpu").method.parameters
    assert parameters.patch_size == (64, 64, 64) and parameters.batch_size == 2
    assert parameters.resolution == "half" and parameters.features == (16, 32, 64, 128)
    assert choose(images(BRAIN), "cpu", memory=100).method.parameters == replace(parameters, memory=100.0)
    residual = choose(images(BRAIN), "cpu", method="segresnet").method
    assert 0.8 * 64**3 < math.prod(patch_of(residual)) <= 64**3
    flat = choose(images(ABDOMEN), "cpu", dimensions=2).method.parameters
    assert flat.patch_size == (192, 192) and flat.batch_size == 2
    reference, thick = (choose(images(grid), "cpu") for grid in (BRAIN, THICK))
    work = [c.need.operations(c.method, c.method.parameters.batch_size) for c in (reference, thick)]
    assert 0.5 * work[0] < work[1] <= work[0], "thick slices cost no more"


def test_a_processor_with_little_memory_is_planned_for_by_that():
    found = choose(images(BRAIN), "cpu", free=0.1e9)
    assert math.prod(patch_of(found.method)) < 64**3 and found.limit == "memory" and used(found) <= 1


def test_slices():
    found = choose(images(THICK), dimensions=2)
    parameters = found.method.parameters
    assert parameters.patch_size == (512, 512) and found.is_whole and used(found) <= 1
    assert parameters.batch_size > 8, "what memory is left makes the batch larger"
    assert parameters.features[-1] == 512 and parameters.strides.startswith("1x1, 2x2")
    check_that_it_trains(choose(images(((40, 60, 300), (1.0, 1.0, 1.0))), dimensions=2))


def test_a_batch_is_no_larger_than_is_useful():
    small = ((32, 32, 32), (1.0, 1.0, 1.0))
    assert choose(images(small, cases=200)).method.parameters.batch_size == 10
    assert choose(images(small, cases=20)).method.parameters.batch_size == 2
    assert choose(images(small, cases=20_000)).method.parameters.batch_size <= 256


def test_one_patch_at_a_time_where_two_of_the_smallest_do_not_fit():
    found = choose(images(BRAIN, classes=100), free=0.8e9)
    assert found.method.parameters.batch_size == 1 and used(found) <= 1
    assert min(patch_of(found.method)) >= 32, "fewer voxels show too little"
    hopeless = choose(images(BRAIN, classes=100), free=0.5e9)
    assert hopeless.method.parameters.batch_size == 1 and not explain(hopeless).facts["memory"]["fits"]


def test_few_loads_need_to_be_known():
    """The first of falling sizes with a load of at most 1 for any loads, in few trials if loads are proportional."""
    sizes = [1000 - 7 * n for n in range(100)]
    for limit in (2000, 1000, 777, 310, 307, 306):
        for exponent, constant in ((1, 0), (1, 90), (3, 0), (0.2, 0)):
            tried = []

            def load(number, limit=limit, exponent=exponent, constant=constant, tried=tried):
                tried.append(number)
                return (max(sizes[number] - constant, 1) / limit) ** exponent

            expected = next((n for n, size in enumerate(sizes) if max(size - constant, 1) <= limit), len(sizes))
            assert first_fitting(sizes, load, 50) == expected
            assert len(tried) <= (4 if (exponent, constant) == (1, 0) else 20)
    assert first_fitting([], load, 0) == 0


@pytest.mark.parametrize(
    "name, value",
    [
        ("spacing", "0,2,0"),
        ("spacing", "2,2,2"),
        ("patch_size", "0,96,0"),
        ("patch_size", "48,64,80"),
        ("batch_size", "3"),
        ("features", "8,16,32,64"),
        ("strides", "1x1x1, 2x2x1, 2x2x2, 2x2x2"),
        ("kernels", "3x3x3, 3x3x3, 3x3x3, 3x3x3"),
        ("resolution", "full"),
    ],
)
def test_every_single_value_can_be_chosen_by_the_user(name, value):
    found = choose(images(THICK), "cpu" if name in ("resolution", "features") else "cuda", **{name: value})
    wanted, chosen = getattr(found.requested.parameters, name), getattr(found.method.parameters, name)
    pairs = zip(wanted, chosen, strict=True) if isinstance(wanted, tuple) else [(wanted, chosen)]
    assert all(c == w or w == 0 for w, c in pairs)
    check_that_it_trains(found)


def test_all_values_can_be_chosen_by_the_user():
    values = {"spacing": (1.0, 1.0, 2.0), "patch_size": (32, 32, 16), "batch_size": 1, "features": (4, 8, 8)}
    values |= {"resolution": "full", "strides": "1x1x1, 2x2x1, 2x2x2", "kernels": "3x3x1, 3x3x3, 3x3x3"}
    found = choose(images(BRAIN), **values)
    assert found.method.parameters == found.requested.parameters
    text = explain(found).text
    assert text.count("as you chose") == len(values)


def test_a_patch_that_the_network_cannot_halve_is_refused():
    with pytest.raises(UserError, match="cannot be halved 2 times"):
        choose(images(BRAIN), patch_size="50,50,50")
    with pytest.raises(UserError, match="cannot be halved 4 times"):
        choose(images(BRAIN), patch_size="40,40,40", features="8,8,8,8,8")


def test_the_explanation_gives_the_reasons_and_the_figures():
    found = choose(images(THICK, ((512, 512, 30), (0.5, 0.5, 3.0))))
    explanation = explain(found)
    for words in (
        "The images: 20 training cases, 1 channel, 4 classes; typically 512 x 512 x 27 voxels of 0.5 x 0.5 x 4 mm",
        "voxels from 0.5 x 0.5 x 3 to 0.5 x 0.5 x 5 mm; 8.0 times as coarse along superior",
        "spacing 0.5 x 0.5 x 3 mm: the median of the training images; along superior the 10th percentile",
        "fits into 8.0 GB of memory",
        "1 along an axis whose neighbours are still twice as far away",
        "this GPU has 1000.0 GB free.",
        " million weights, ",
    ):
        assert words in explanation.text
    assert json.loads(json.dumps(explanation.facts))["fingerprint"]["cases"] == 20
    assert explanation.facts["memory"]["needed_bytes"] <= explanation.facts["memory"]["planned_for_bytes"] == 8e9
    assert set(explanation.facts["reasons"]) == {
        "spacing",
        "patch_size",
        "batch_size",
        "features",
        "strides",
        "kernels",
        "resolution",
    }
    assert explanation.warnings == ()


def test_what_is_known_to_go_wrong_is_a_warning():
    (warning,) = explain(choose(images(BRAIN, cases=3))).warnings
    assert "million weights for each training case, so it may memorise the cases" in warning
    (warning,) = explain(choose(images(BRAIN, ((64, 64, 1), (1.0, 1.0, 1.0))), "cpu")).warnings
    assert "thinnest training image has 1 of the 4 slices" in warning and "dimensions 2" in warning


def test_what_does_not_fit_is_said_with_what_would():
    found = choose(images(BRAIN), free=4e9, patch_size="256,256,256", batch_size=2)
    assert "; this GPU has 4.0 GB free; " in explain(found).text and not explain(found).facts["memory"]["fits"]


def test_a_run_keeps_what_was_chosen_and_refuses_changed_settings(toy_dataset, tmp_path):
    folder = JobFolder(tmp_path)
    said = []
    dataset = load_dataset(toy_dataset, task("segment"))
    context = Context(torch.device("cpu"), dataset=dataset, report=lambda _, **e: said.append(e))
    wanted = {"features": (4, 8, 8), "patch_size": (0, 16, 0)}
    job = Job("segment", "train", "unet", wanted)
    chosen = configured_method(job, folder, context)
    assert chosen.parameters.resolution == "half" and chosen.parameters.patch_size[1] == 16
    assert all(chosen.parameters.patch_size) and all(chosen.parameters.spacing)
    assert "patch_size" in said[0]["message"] and "spacing" in said[0]["message"]
    content = json.loads(folder.parameters_file.read_text(encoding="utf-8"))
    assert content["used"] == to_mapping(chosen.parameters)
    assert content["found"]["fingerprint"]["shapes"] == [[36, 32, 24]] * 4
    on_a_card = replace(context, device=torch.device("cuda"))
    assert configured_method(job, folder, on_a_card).parameters == chosen.parameters
    with pytest.raises(UserError, match="have changed since this training began"):
        configured_method(replace(job, parameters=wanted | {"steps": 7}), folder, context)


def test_a_card_is_asked_how_much_is_free(toy_dataset, monkeypatch):
    monkeypatch.setattr(preflight, "free_bytes", lambda device: 5_000_000_000 if device.type == "cuda" else 0)
    context = Context(torch.device("cuda"), dataset=load_dataset(toy_dataset, task("segment")))
    chosen = UNet(UNetParameters(precision="bfloat16")).configured(context)
    assert chosen.explanation.facts["memory"]["planned_for_bytes"] == 4_500_000_000
    assert chosen.parameters.patch_size == (40, 32, 24), "all of an image"


# The metadata of models from before strides and kernels were parameters.
OLD = {
    **{"steps": 2, "batch_size": 2, "learning_rate": 0.03, "patch_size": [32, 32, 16], "spacing": [2.0, 2.0, 2.5]},
    **{"loss": "dice_ce", "foreground": 0.8, "validation_fraction": 0.2, "validate_every": 2, "validation_cases": 10},
    **{"patience": 0, "rotation": 15.0, "scaling": 0.15, "elastic": 0.0, "flips": "none", "intensity": 0.2},
    **{"normalization": "zscore", "window": [-200.0, 300.0], "weight_decay": 0.0001, "precision": "auto"},
    **{"resample_labels": False, "dropout": 0.0},
}
OLD_UNET = OLD | {"dimensions": 3, "features": [8, 16, 16], "separation_weight": 0.0, "separation_sigma": 5.0}


@pytest.mark.parametrize(
    "name, parameters, step, tensors, weights",
    [
        ("unet", OLD_UNET | {"resolution": "full"}, 4, 66, 110_795),
        ("unet", OLD_UNET | {"resolution": "half"}, 8, 66, 110_795),
        ("segresnet", OLD | {"filters": 8, "blocks": [1, 1, 1]}, 4, 39, 108_355),
    ],
)
def test_an_old_model_is_the_network_that_it_was(name, parameters, step, tensors, weights):
    method_class = get("segment", name)
    method = method_class(from_mapping(method_class.Parameters, parameters))
    assert method.downsampling == (step,) * 3
    network = method.network(1, 3)
    state = network.state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (tensors, weights)
    assert network.eval()(torch.zeros(1, 1, 32, 32, 16)).shape == (1, 3, 32, 32, 16)
    assert method.plan().patch_size == (32, 32, 16)
