"""The memory estimate for a network, made without the device, against the memory that it really uses."""

from __future__ import annotations

import math
import multiprocessing

import pytest
import torch
from MedDeepLib.devices import preflight

GIGABYTE = 1_000_000_000
# Resident memory includes the workspace of convolutions and memory that the allocator does not return.
LOWEST, HIGHEST = 0.8, 1.7


def unet() -> torch.nn.Module:
    from monai.networks.nets import DynUNet

    strides = [1, 2, 2, 2]
    return DynUNet(3, 1, 4, [3] * 4, strides, strides[1:], filters=[16, 32, 64, 128])


def residual() -> torch.nn.Module:
    from monai.networks.nets import SegResNet

    return SegResNet(3, init_filters=16, in_channels=1, out_channels=4)


def step(batch: int, channels: int, patch: tuple[int, ...]) -> preflight.Step:
    """A forward and backward pass with the loss of the measured steps."""

    def run(forward) -> None:
        image = torch.empty((batch, channels, *patch), device="meta")
        label = torch.zeros((batch, *patch), dtype=torch.long, device="meta")
        scores = forward(image).float()
        (torch.nn.functional.cross_entropy(scores, label) + scores.softmax(1)[:, 1:].mean()).backward()

    return run


def tile(batch: int, channels: int, size: tuple[int, ...]) -> preflight.Step:
    return lambda forward: forward(torch.empty((batch, channels, *size), device="meta"))[0].float().softmax(0)


def train_steps(build, batch: int, edge: int) -> None:
    network = build()
    optimizer = torch.optim.AdamW(network.parameters())
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        scores = network(torch.zeros(batch, 1, *[edge] * 3))
        label = torch.zeros(batch, *[edge] * 3, dtype=torch.long)
        loss = torch.nn.functional.cross_entropy(scores, label) + scores.softmax(1)[:, 1:].mean()
        loss.backward()
        optimizer.step()


def apply_tile(build, batch: int, edge: int) -> None:
    with torch.inference_mode():
        build().eval()(torch.zeros(batch, 1, *[edge] * 3))[0].softmax(0)


def measure(function, build, batch: int, edge: int, result) -> None:
    """The growth of the peak resident memory in a separate process, without the libraries."""
    import psutil
    from MedDeepLib.training.accounting import peak_resident_bytes

    torch.set_num_threads(1)
    function(build, 1, 16)
    before = psutil.Process().memory_info().rss
    function(build, batch, edge)
    result.put(peak_resident_bytes() - before)


def measured(*arguments) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy_stages", "monai.engines"])  # as in the tests of the engine, which share it
    result = context.Queue()
    process = context.Process(target=measure, args=(*arguments, result))
    process.start()
    try:
        return result.get(timeout=120)
    finally:
        process.join(30)


@pytest.mark.parametrize("build", [unet, residual])
def test_training_takes_about_the_estimated_memory(build):
    said = preflight.training_bytes(build, step(2, 1, (48, 48, 48)))
    ratio = measured(train_steps, build, 2, 48) / said
    assert LOWEST < ratio < HIGHEST, f"{said / 1e6:.0f} MB said, {ratio:.2f} times that measured"


def test_applying_takes_about_the_estimated_memory():
    said = preflight.application_bytes(unet(), tile(1, 1, (96, 96, 96)))
    ratio = measured(apply_tile, unet, 1, 96) / said
    assert LOWEST < ratio < HIGHEST, f"{said / 1e6:.0f} MB said, {ratio:.2f} times that measured"


def test_what_is_counted_can_be_checked_by_hand():
    """One convolution: 4 floats per weight (weight, gradient, two of AdamW), plus image, scores, softmax etc."""

    def build():
        return torch.nn.Conv3d(1, 2, 1, bias=False)

    voxels = 40**3
    said = preflight.training_bytes(build, step(1, 1, (40, 40, 40)))
    image, label, scores = 4 * voxels, 8 * voxels, 2 * 4 * voxels
    assert image + label + 3 * scores < said < image + label + 8 * scores
    # Many weights, next to no voxels: the optimiser's step is the peak.
    weights = 4 * 300 * 1000
    said = preflight.training_bytes(lambda: torch.nn.Conv3d(300, 1000, 1, bias=False), step(1, 300, (2, 1, 1)))
    assert said == 5 * weights


def test_more_of_anything_needs_more():
    sizes = [(1, (32, 32, 32)), (2, (32, 32, 32)), (2, (64, 32, 32)), (2, (64, 64, 64))]
    needs = [preflight.training_bytes(unet, step(batch, 1, patch)) for batch, patch in sizes]
    assert needs == sorted(needs) and needs[-1] > 6 * needs[0]


def test_a_smaller_dtype_needs_less():
    full, short = (preflight.training_bytes(unet, step(2, 1, (64, 64, 64)), dtype) for dtype in (None, torch.bfloat16))
    assert 0.4 * full < short < 0.75 * full
    applied = [preflight.application_bytes(unet(), tile(1, 1, (64, 64, 64)), dtype) for dtype in (None, torch.bfloat16)]
    assert applied[1] < 0.75 * applied[0]


def test_a_network_that_is_there_stays_as_it_is():
    network = unet()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    preflight.application_bytes(network, tile(1, 1, (32, 32, 32)))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_networks_in_two_dimensions():
    from monai.networks.nets import DynUNet

    def flat():
        return DynUNet(2, 3, 2, [3, 3, 3], [1, 2, 2], [2, 2], filters=[8, 16, 16])

    assert preflight.training_bytes(flat, step(4, 3, (64, 64))) > 4 * 64 * 64 * 8 * 4


@pytest.mark.parametrize(
    "patch, steps, free, expected",
    [
        ((64, 64, 64), (16, 16, 16), 48**3, (48, 48, 48)),
        ((64, 64, 64), (16, 16, 16), 48**3 - 1, (32, 32, 32)),
        ((64, 64, 32), (16, 16, 16), 64 * 64 * 32 - 1, (48, 48, 32)),
        ((64, 64), (16, 16), 64 * 64 - 1, (48, 48)),
        ((64, 64, 64), (16, 16, 16), 16**3, None),
        ((16, 16, 32), (16, 16, 16), 1, None),
        ((64, 96, 12), (32, 32, 4), 64 * 64 * 12, (64, 64, 12)),
        ((64, 64, 12), (32, 32, 4), 64 * 64 * 12 - 1, (32, 32, 12)),
        ((32, 32, 12), (32, 32, 4), 32 * 32 * 8, (32, 32, 8)),
        ((32, 32, 8), (32, 32, 4), 1, None),
    ],
)
def test_the_largest_patch_that_fits(patch, steps, free, expected):
    assert preflight.largest_fitting_patch(math.prod, patch, steps, free) == expected


def test_operations_are_counted():
    """A convolution multiplies and adds once for every weight and voxel."""
    said = preflight.forward_operations(lambda: torch.nn.Conv3d(3, 5, 1, bias=False), 3, (8, 4, 2))
    assert said == 2 * 3 * 5 * 8 * 4 * 2
    small, large = (preflight.forward_operations(unet, 1, (edge,) * 3) for edge in (32, 64))
    assert large == 8 * small


def test_weights_are_counted():
    assert preflight.count_weights(lambda: torch.nn.Conv3d(3, 5, 1)) == 3 * 5 + 5


@pytest.mark.parametrize("free, expected", [(70, 7), (79, 7), (10, 1), (9, 0), (1000, 7)])
def test_the_largest_batch_that_fits(free, expected):
    assert preflight.largest_fitting_batch(lambda batch: 10 * batch, 8, free) == expected


def test_advice_in_words():
    size = (128, 128, 128)
    sentence = preflight.advice(int(9.8 * GIGABYTE), int(7.1 * GIGABYTE), 2, size, "this GPU", ["96 x 96 x 96"])
    assert sentence == (
        "Needs about 9.8 GB at patch 128 x 128 x 128, batch 2; this GPU has 7.1 GB free; 96 x 96 x 96 fits."
    )
    assert preflight.advice(GIGABYTE, 2 * GIGABYTE, 1, (64, 64), "this GPU") == (
        "Needs about 1.0 GB at patch 64 x 64, batch 1; this GPU has 2.0 GB free."
    )
    assert preflight.advice(2, 1, 1, size, "this computer").endswith("; no smaller patch fits.")


def test_what_must_be_free_is_more_than_the_tensors():
    assert preflight.needed_bytes(1000, "cpu") == 1150
    assert preflight.needed_bytes(1000, "cuda") == 1150 + preflight.LIBRARIES_BYTES


def test_free_memory_of_this_computer():
    assert preflight.free_bytes(torch.device("cpu")) > 0
