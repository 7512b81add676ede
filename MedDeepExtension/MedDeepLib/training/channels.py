"""Says in a sentence that a network has been built for another number of channels than it gets or should give."""

from __future__ import annotations

import re
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

_OTHER_INPUT = re.compile(r"expected input\[.*\] to have (\d+) channels, but got (\d+) channels")


@contextmanager
def channels_in_words(networks: Mapping[str, torch.nn.Module] = MappingProxyType({})) -> Iterator[None]:
    """Raise UserError, with the network's name, where a convolution within gets another number of channels.

    torch's own message has no word on whose convolution it is.
    """
    try:
        yield
    except RuntimeError as error:
        found = _OTHER_INPUT.search(str(error))
        if found is None:
            raise
        expected, got = map(int, found.groups())
        raise UserError(
            f"{_running(error, networks)} was built for {_channels(expected)}, but one of its convolutions gets "
            f"{_channels(got)}: the method must build it for as many as it is asked to."
        ) from error


def giving_channels(count: int, meaning: str = "") -> Callable[[Networks, Sample], Any]:
    """A ``forward`` for a stage: its first network on ``batch["image"]``, whose output must have ``count`` channels.

    Of several outputs each must have them. Raises UserError, with the network's name, at the first step otherwise.
    ``meaning`` says what they are: "background and 2 classes".
    """
    return partial(_checked_output, count=count, meaning=meaning)


def _checked_output(networks: Networks, batch: Sample, *, count: int, meaning: str) -> Any:
    output = first_on_image(networks, batch)
    for one in output if isinstance(output, list | tuple) else [output]:
        if one.shape[1] != count:
            needed = f"{_channels(count)} ({meaning})" if meaning else _channels(count)
            raise UserError(
                f"The network '{next(iter(networks))}' gives {_channels(one.shape[1])}, but {needed} are needed: the "
                "method must build it for as many as it is asked to."
            )
    return output


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
