"""Selective sampling reaches uniform sampling's score in fewer steps where hard negatives are rare. Slow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DetectModuleLib.worker.networks.windows import window_network
from DetectModuleLib.worker.windows import Pool, WindowBatches, area_under_curve, pool_scores
from MedDeepLib.training.dense.augmentation import Augmentation

pytestmark = pytest.mark.slow

SIZE, CPU = (13, 13, 1), torch.device("cpu")
EVERY, STEPS = 20, 400


def picture(seed: int, lesions: int, barred: int) -> tuple[torch.Tensor, Pool]:
    """Discs are lesions; discs with a bright bar are not, and are rare among many places of mere noise."""
    random = np.random.default_rng(seed)
    count = 24
    image = random.normal(0, 0.3, (count * 16, count * 16))
    grid = np.indices((16, 16)) - 8.0
    distance = np.linalg.norm(grid, axis=0)
    labels, voxels, kinds = [], [], np.zeros(count * count, int)
    kinds[:lesions], kinds[lesions : lesions + barred] = 1, 2
    for number, kind in enumerate(random.permutation(kinds)):
        i, j = 16 * (number // count), 16 * (number % count)
        if kind:
            image[i : i + 16, j : j + 16] += distance < 4
        if kind == 2:
            image[i : i + 16, j : j + 16] += 0.8 * ((distance < 4) & (np.abs(grid[0]) < 1))
        labels.append(kind)
        voxels.append((i + 8, j + 8, 0))
    pool = Pool.of(0, np.array(voxels), np.array(labels))
    return torch.from_numpy(image.astype(np.float32))[None, ..., None], pool


def steps_to(target: float, selective: bool, seed: int) -> int:
    """Steps until lesions are told from barred discs; STEPS if never."""
    image, kinds = picture(seed, 60, 8)
    pool = Pool(kinds.cases, kinds.voxels, (kinds.labels == 1).astype(int))
    held_out_image, held_out = picture(seed + 100, 100, 100)
    held_out = held_out[held_out.labels > 0]
    torch.manual_seed(seed)
    network = window_network(SIZE[:2], 1, [(8, (3, 3)), (2, 2), (8, (3, 3))], [16], 2)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    batches = WindowBatches([image], pool, SIZE, 16, Augmentation(0, 0, intensity=0), 0.0, seed)
    for step in range(STEPS):
        if step % EVERY == 0:
            scores = pool_scores(network, [held_out_image], held_out, SIZE, CPU)[:, 1].numpy()
            if area_under_curve(scores, held_out.labels == 1) >= target:
                return step
            if selective and step:
                negatives = pool[batches.errors.others]
                batches.errors.update(pool_scores(network, [image], negatives, SIZE, CPU)[:, 1])
        batch = batches(step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(batch["image"]), batch["label"]).backward()
        optimizer.step()
    return STEPS


def test_selective_sampling_needs_fewer_steps(record_property):
    uniform, selective = ([steps_to(0.95, way, seed) for seed in (1, 2, 3)] for way in (False, True))
    record_property("tally", f"steps to an AUC of .95, 3 seeds: uniform {uniform}, selective {selective}")
    assert sum(selective) <= 0.5 * sum(uniform)
