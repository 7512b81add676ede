"""The cascade: what its screening proposes, how many, and how answers are fused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from DetectModuleLib.worker.cascade import Look, discriminate
from DetectModuleLib.worker.screening import Proposing, Screen, Search, proposing
from MedDeepLib.core import Context
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.errors import Stopped
from torch import nn

CONTEXT = Context(torch.device("cpu"))


def spot_finder() -> nn.Sequential:
    """Scores of background and spots: how much brighter the middle of a window is than its border."""
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 27, 2))
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    network[0].weight.data[0, 0, 1, 1, 1] = 1.0
    network[2].weight.data[1].view(2, 3, 3, 3)[0, 1, 1, 1] = 8.0
    network[2].bias.data[1] = -4.0
    return network


def spots(number: int, shape=(40, 40, 20)) -> tuple[Prepared, np.ndarray]:
    random = np.random.default_rng(number)
    image, voxels = torch.zeros(1, *shape), []
    while len(voxels) < 12:
        voxel = random.integers(0, shape)
        if all(np.abs(voxel - other).max() > 4 for other in voxels):
            image[(0, *voxel)] = random.uniform(0.7, 1.0)
            voxels.append(voxel)
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    return Prepared(image, affine, (0, 1, 2), (False,) * 3, shape, np.ones(3), np.zeros(3)), np.array(voxels)


def how(most=300) -> Proposing:
    return Proposing(0.3, 1.0, most, (4.0,), whole_image=True)


def test_every_spot_is_proposed_once_where_it_is():
    case, voxels = spots(1)
    said: list[str] = []
    found = Search().propose(Screen({"screen": spot_finder()}, (5, 5, 5)), case, how(), CONTEXT, said.append)
    assert len(found) == 12 and not said and (np.diff(found.scores) <= 0).all()
    apart = np.abs(found.voxels(case.affine)[:, None] - voxels).max(2)
    assert (apart.min(0) < 0.51).all()
    assert (found.diameters == 4).all() and (found.classes == 0).all()


def test_of_too_many_the_likeliest_are_kept_and_that_is_said():
    case, _ = spots(1)
    said: list[str] = []
    screen = Screen({"screen": spot_finder()}, (5, 5, 5))
    everything = Search().propose(screen, case, how(), CONTEXT, said.append)
    few = Search().propose(screen, case, how(most=5), CONTEXT, said.append)
    np.testing.assert_allclose(few.points, everything.points[:5])
    assert len(said) == 1 and "5 highest are kept" in said[0]


@pytest.mark.parametrize("shape", [(512, 512, 300), (40, 500, 12), (3000, 3000, 1)])
def test_tiles_have_bounded_memory_whatever_the_image(shape):
    network = nn.Sequential(nn.Conv3d(1, 64, (5, 5, 3)), nn.Flatten(), nn.Linear(64, 2))
    if shape[2] == 1:
        network = nn.Sequential(nn.Conv2d(1, 16, 5), nn.Flatten(), nn.Linear(16, 2))
    screen = Screen({"screen": network}, (5, 5, 3 if shape[2] > 1 else 1))
    size = np.array(screen.tile(shape))
    assert (size <= shape).all() and np.prod(size + screen.window) * 64 <= 4 * 32e6


def test_eight_orientations_are_one_for_a_symmetric_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 4, 2)).eval()
    image = torch.randn(1, 2, 14, 11)
    screen = Screen({"screen": network}, (9, 9, 1), orientations=True)
    with torch.inference_mode():
        answers = screen.dense()(image).exp()
        turned = screen.dense()(image.rot90(1, (2, 3)).flip(3)).exp().flip(3).rot90(-1, (2, 3))
    torch.testing.assert_close(answers, turned, rtol=0, atol=1e-5)
    torch.testing.assert_close(answers.sum(1), torch.ones(1, 6, 3), rtol=0, atol=1e-5)


def answering(*probabilities: float) -> nn.Module:
    class Constant(nn.Module):
        def forward(self, windows):
            return torch.tensor(probabilities).log().expand(len(windows), -1)

    return Constant()


def test_answers_are_fused_by_weights():
    looks = [
        Look("small", answering(0.9, 0.1), (4, 4, 2), 0.3),
        Look("middle", answering(0.5, 0.5), (6, 6, 2), 0.4),
        Look("large", answering(0.2, 0.8), (8, 8, 4), 0.3),
    ]
    fused = discriminate(looks, torch.zeros(1, 20, 20, 10), np.array([[3, 3, 3], [19, 0, 5]]), CONTEXT)
    np.testing.assert_allclose(fused, [[0.53, 0.47]] * 2, atol=1e-6)
    stopping = Context(torch.device("cpu"), stop_requested=lambda: True)
    with pytest.raises(Stopped):
        discriminate(looks, torch.zeros(1, 20, 20, 10), np.array([[3, 3, 3]]), stopping)


def test_candidates_keep_half_a_typical_finding_apart_unless_told_otherwise():
    settings = SimpleNamespace(separation=0.0, candidates=10, candidate_threshold=0.2)
    sizes, spacing = np.array([[4, 4, 2], [8, 8, 4]]), np.array([1.0, 1.0, 2.0])
    assert proposing(settings, sizes, spacing) == Proposing(0.2, 2.0, 10, (4.0, 8.0))
    settings.separation = 5.0
    assert proposing(settings, sizes, spacing).distance == 5.0
