"""Cases that exceed the memory limit are kept in memory-mapped files, and training gives the same weights."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from MedDeepLib.errors import CannotWrite
from MedDeepLib.jobs import Job
from MedDeepLib.training.dense.cache import CaseCache, cache_key
from MedDeepLib.training.dense.patches import CachedCase, Volume
from toy_cases import TRAINING, run_job


def case(seed: int, edge: int = 20, weight: bool = False) -> CachedCase:
    generator = torch.Generator().manual_seed(seed)
    shape = (edge, edge, edge)
    volumes = {
        "image": Volume(torch.randn(2, *shape, generator=generator), linear=True, intensity=True),
        "label": Volume(
            torch.randint(0, 3, (1, *shape), generator=generator, dtype=torch.uint8), dtype=torch.long, padded=True
        ),
    }
    if weight:
        volumes["weight"] = Volume(torch.rand(1, *shape, generator=generator))
    voxels = {0: np.array([[1, 2, 3]]), 2: np.arange(9).reshape(3, 3)}
    return CachedCase(volumes, voxels, {"label": torch.arange(3) + seed})


def same(first: CachedCase, second: CachedCase) -> bool:
    tensors = [(first[name], second[name]) for name in first.volumes]
    tensors += [(first.extras[name], second.extras[name]) for name in first.extras]
    settings = [
        {name: replace(volume, tensor=None, dtype=volume.patch_dtype) for name, volume in case.volumes.items()}
        for case in (first, second)
    ]
    return (
        all(torch.equal(a, b) and a.dtype == b.dtype for a, b in tensors)
        and [*first.volumes] == [*second.volumes]
        and str(settings[0]) == str(settings[1])
        and first.extras.keys() == second.extras.keys()
        and first.voxels.keys() == second.voxels.keys()
        and all((first.voxels[key] == second.voxels[key]).all() for key in first.voxels)
    )


@pytest.mark.parametrize("weight", [False, True])
def test_beyond_the_limit_cases_come_out_of_files(tmp_path, weight):
    size = 20**3 * (9 + 4 * weight) + 24
    cache = CaseCache(tmp_path / "cache", int(2.5 * size))
    kept = [cache.keep(str(n), case(n, weight=weight)) for n in range(5)]
    assert all(same(found, case(n, weight=weight)) for n, found in enumerate(kept))
    assert sorted(folder.name for folder in (tmp_path / "cache").iterdir()) == ["2", "3", "4"]
    again = CaseCache(tmp_path / "cache", 1)
    assert again.find("0") is None and same(again.find("4"), case(4, weight=weight))
    cache.remove()
    assert not (tmp_path / "cache").exists()


def test_nothing_is_written_while_there_is_room(tmp_path):
    cache = CaseCache(tmp_path / "cache")
    assert same(cache.keep("a", case(1)), case(1))
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(not hasattr(psutil.Process, "memory_maps"), reason="the system does not tell what is mapped")
def test_cases_out_of_files_are_mapped_not_read(tmp_path):
    cache = CaseCache(tmp_path, 1)
    kept = [cache.keep(str(number), case(number, edge=64)) for number in range(10)]
    mapped = {entry.path: entry.private_dirty for entry in psutil.Process().memory_maps()}
    for number, found in enumerate(kept):
        assert mapped[str(tmp_path / str(number) / "image.npy")] == 0
        assert torch.equal(found["image"][:, 5], case(number, edge=64)["image"][:, 5])


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(CannotWrite, match="the disk is full"):
        CaseCache(tmp_path / "cache", 1).keep("a", case(1))
    assert not list((tmp_path / "cache").iterdir())


def test_the_key_changes_with_file_and_settings(tmp_path):
    file = tmp_path / "image.nrrd"
    file.write_bytes(b"one")
    keys = {cache_key(file, spacing=1), cache_key(file, spacing=2)}
    os.utime(file, (1, 1))
    keys |= {cache_key(file, spacing=1)}
    file.write_bytes(b"other")
    keys |= {cache_key(file, spacing=1)}
    assert len(keys) == 4 and cache_key(file, spacing=1) in keys


def test_a_training_out_of_files_gives_the_same_weights(toy_dataset, tmp_path):
    settings = {**TRAINING, "steps": 12, "validate_every": 6, "separation_weight": 5.0}
    weights = []
    for name, memory in (("memory", 0.0), ("files", 1e-9)):
        job = Job(
            "segment", "train", "unet", settings | {"cache_memory": memory}, str(toy_dataset), device="cpu", seed=3
        )
        code, events = run_job(tmp_path / name, job)
        assert code == 0, events[-1]
        weights.append(torch.load(tmp_path / name / "model/models/model.pt", weights_only=True))
        assert not (tmp_path / name / "cache").exists()  # gone when it is no longer needed
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert json.loads((tmp_path / "files" / "parameters.json").read_text())["used"]["cache_memory"] == 1e-9
