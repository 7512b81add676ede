"""Out of memory while a network is applied: fewer tiles, smaller tiles, the CPU if allowed, and the same labels.

Memory does not really run out; the network raises what torch raises then, depending on the number of its call or the
size of its input.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.errors import OutOfMemory, Stopped
from MedDeepLib.inference import ladder
from MedDeepLib.inference.ladder import apply_within_memory, next_smaller
from MedDeepLib.inference.sinks import Labels
from MedDeepLib.inference.sliding import TilingOptions, apply_network

CPU = torch.device("cpu")
GPU = torch.device("cuda:0")


class Local(torch.nn.Module):
    """Scores that depend on the voxel and its neighbour; runs out of memory when told to."""

    def __init__(self, fails=lambda call, shape: False, error: Exception | None = None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.fails, self.error, self.shapes = fails, error or torch.OutOfMemoryError("CUDA out of memory"), []

    def forward(self, x):
        self.shapes.append((len(x), *x.shape[2:]))
        if self.fails(len(self.shapes), x.shape):
            raise self.error
        return torch.cat([-(x**2), x - 0.5, -x - 0.5], 1) * self.weight


def prepared(shape=(30, 25, 20), seed=0) -> Prepared:
    image = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (1, *shape)).astype(np.float32))
    return Prepared(image, np.eye(4), (0, 1, 2), (False,) * 3, shape, np.ones(3), np.zeros(3))


def undisturbed(options: TilingOptions) -> np.ndarray:
    return apply_network(Local(), prepared(), options, CPU, Labels())


def climb(network: Local, options: TilingOptions, device=CPU, **changes):
    warnings = []
    labels = apply_within_memory(network, prepared(), options, device, Labels(), (4, 4, 4), warnings.append, **changes)
    return labels, warnings


def test_nothing_happens_where_memory_suffices():
    options = TilingOptions((16, 16, 16), batch_size=4)
    labels, warnings = climb(Local(), options)
    np.testing.assert_array_equal(labels, undisturbed(options))
    assert warnings == []


def test_fewer_tiles_at_a_time_first():
    options = TilingOptions((16, 16, 16), batch_size=5, whole_image=True)
    network = Local(fails=lambda call, shape: shape[0] > 1)
    labels, warnings = climb(network, options)
    np.testing.assert_array_equal(labels, undisturbed(options))
    assert warnings == [
        "There was not enough memory: applying the network to 2 tiles at a time.",
        "There was not enough memory: applying the network to one tile of 16 x 16 x 16 voxels at a time.",
    ]
    assert set(network.shapes[2:]) == {(1, 16, 16, 16)}


def test_then_smaller_tiles():
    options = TilingOptions((24, 16, 16), batch_size=1)
    network = Local(fails=lambda call, shape: shape[2] > 8)
    labels, warnings = climb(network, options)
    np.testing.assert_array_equal(labels, undisturbed(options))
    assert warnings == [
        "There was not enough memory: applying the network to one tile of 12 x 8 x 8 voxels at a time.",
        "There was not enough memory: applying the network to one tile of 8 x 4 x 4 voxels at a time.",
    ]


@pytest.mark.parametrize("call", [1, 2, 5])
def test_it_may_fail_at_any_tile(call):
    options = TilingOptions((16, 16, 16), batch_size=2, whole_image=True)
    labels, warnings = climb(Local(fails=lambda number, shape: number == call), options)
    np.testing.assert_array_equal(labels, undisturbed(options))
    assert len(warnings) == 1


def test_the_cpu_only_if_allowed(monkeypatch):
    def pretend(network, prepared, options, device, *rest):
        return apply_network(network, prepared, options, CPU, *rest)  # there need not be a GPU

    monkeypatch.setattr(ladder, "apply_network", pretend)
    options = TilingOptions((16, 16, 16), batch_size=2)
    network = Local(fails=lambda call, shape: call <= 3)
    with pytest.raises(OutOfMemory, match="allow the CPU with the option allow_cpu") as caught:
        climb(network, options, GPU)
    assert caught.value.kind == "memory"

    moved = []
    network = Local(fails=lambda call, shape: call <= 3)
    monkeypatch.setattr(network, "to", moved.append)
    labels, warnings = climb(network, options, GPU, allow_cpu=True)
    np.testing.assert_array_equal(labels, undisturbed(options))
    assert warnings[-1] == ("There was not enough GPU memory even for the smallest tiles: computing on the CPU.")
    assert moved == ["cpu", GPU], "the next case tries the GPU again"
    assert set(network.shapes[3:]) == {(1, 16, 16, 16)}, "with the tiles that were asked for"


def test_no_way_left_on_the_cpu():
    with pytest.raises(OutOfMemory, match="close other programs"):
        climb(Local(fails=lambda *_: True), TilingOptions((16, 16, 16)), allow_cpu=True)


def test_other_errors_and_stop_are_passed_on():
    with pytest.raises(RuntimeError, match="shapes"):
        climb(Local(fails=lambda *_: True, error=RuntimeError("shapes")), TilingOptions((16, 16, 16)))
    with pytest.raises(Stopped):
        climb(Local(), TilingOptions((16, 16, 16)), stop_requested=lambda: True)


@pytest.mark.parametrize(
    "batch, size, step, expected",
    [
        (9, (64, 64, 64), (16, 16, 16), (4, (64, 64, 64))),
        (1, (64, 64, 64), (16, 16, 16), (1, (32, 32, 32))),
        (1, (48, 32, 16), (16, 16, 16), (1, (32, 16, 16))),
        (1, (32, 32, 16), (16, 16, 16), None),
        (1, (16, 16, 16), (16, 16, 16), None),
        (1, (64, 64, 1), (16, 16, 1), (1, (32, 32, 1))),
        (1, (96, 128, 12), (32, 32, 4), (1, (64, 64, 8))),
        (1, (32, 32, 12), (32, 32, 4), (1, (32, 32, 8))),
        (1, (32, 32, 8), (32, 32, 4), None),
    ],
)
def test_the_next_smaller_settings(batch, size, step, expected):
    smaller = next_smaller(TilingOptions(size, batch_size=batch), step)
    assert (smaller and (smaller.batch_size, smaller.size)) == expected
