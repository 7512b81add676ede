"""Explains in one sentence that a network has the wrong number of input or output channels."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from MedDeepLib.core.stages import Sample
from MedDeepLib.errors import UserError
from MedDeepLib.training.stages.train import Networks, first_on_image


@contextmanager
def channels_in_words(networks: Mapping[str, torch.nn.Module] = MappingProxyType({})) -> Iterator[None]:
    """Raise UserError that names the network when one of its convolutions gets the wrong number of channels.

    torch's own message does not say whose convolution it is.
    """
    try:
        yield
    except RuntimeError as error:
        found = _other_input(error)
        if found is None:
            raise
        expected, got = found
        raise UserError(
            f"{_running(error, networks)} was built for {_channels(expected)}, but one of its convolutions gets "
            f"{_channels(got)}: the method must build it with the requested number."
        ) from error


def giving_channels(count: int, meaning: str = "") -> Callable[[Networks, Sample], Any]:
    """A ``forward`` for a stage: its first network on ``batch["image"]``, whose output must have ``count`` channels.

    Every output must have them. Otherwise the first step raises UserError that names the network. ``meaning`` says what
    the channels are: "background and 2 classes".
    """
    return partial(_checked_output, count=count, meaning=meaning)


def _checked_output(networks: Networks, batch: Sample, *, count: int, meaning: str) -> Any:
    output = first_on_image(networks, batch)
    for one in output if isinstance(output, list | tuple) else [output]:
        if one.shape[1] != count:
            needed = f"{_channels(count)} ({meaning})" if meaning else _channels(count)
            raise UserError(
                f"The network '{next(iter(networks))}' gives {_channels(one.shape[1])}, but {needed} are needed: the "
                "method must build it with the requested number."
            )
    return output


def _other_input(error: BaseException) -> tuple[int, int] | None:
    """The input channels that the failing convolution expects, and those it got; None if they agree.

    Read from its stack frame: on the meta device the message has no numbers.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        layer, image = frame.f_locals.get("self"), frame.f_locals.get("input")
        if isinstance(layer, torch.nn.modules.conv._ConvNd) and isinstance(image, torch.Tensor):
            got = image.shape[1] if image.ndim == layer.weight.ndim else image.shape[0]
            return (layer.in_channels, got) if got != layer.in_channels else None
    return None


def _running(error: BaseException, networks: Mapping[str, torch.nn.Module]) -> str:
    """The network in whose forward pass an error was raised, in words."""
    names = {id(network): name for name, network in networks.items()}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = names.get(id(frame.f_locals.get("self")))
        if name is not None:
            return f"The network '{name}'"
    return "The network"


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count != 1 else ''}"
