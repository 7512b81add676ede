"""A stand-in for a GPU, whose tensors are not in CPU memory.

torch's *meta* device computes shapes and no values. As on a GPU, its tensors can neither be mixed with those on the CPU
nor read by numpy: code that forgets to move one fails here as on a GPU, but without needing one.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.fx.experimental._config

DEVICE = torch.device("meta")
_VALUE = 0.5  # the value of any scalar that is read from it


def stand_in(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The device; tensors explicitly moved to the CPU get arbitrary values from 0 to 1."""
    monkeypatch.setattr(torch.fx.experimental._config, "meta_nonzero_assume_all_nonzero", True, raising=False)
    originals = {name: getattr(torch.Tensor, name) for name in ("cpu", "item", "__float__", "__bool__", "__int__")}

    def brought_back(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            return originals["cpu"](tensor)
        if tensor.ndim == 2:  # may be a matrix that someone inverts
            return torch.eye(*tensor.shape).to(tensor.dtype)
        return torch.rand(tensor.shape).to(tensor.dtype)

    def read(name: str, value: float | bool):
        return lambda tensor: value if tensor.is_meta else originals[name](tensor)

    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "cpu", brought_back)
    for name, value in (("item", _VALUE), ("__float__", _VALUE), ("__bool__", True), ("__int__", 0)):
        monkeypatch.setattr(torch.Tensor, name, read(name, value))
    return DEVICE


def train_one_step(stage) -> float:
    """One step of the engine with the first sample, on the device; returns the loss."""
    (network,) = list(stage.networks.values())[:1]
    network.to(DEVICE)
    sample = {n: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for n, v in stage.data.sample(0).items()}
    if stage.data.augment is not None:
        sample = stage.data.augment(sample, None)
    batch = stage.data.collate([sample])
    loss = stage.loss(stage.output(batch), batch)
    assert loss.device == DEVICE
    loss.backward()
    if stage.validation is not None:
        assert stage.validation.measure()
    return float(loss)
