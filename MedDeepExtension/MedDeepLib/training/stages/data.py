"""A stage that makes data for later stages, an item at a time, each in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from MedDeepLib.data.formats.tensor_file import DamagedFileError, load_tensors
from MedDeepLib.errors import UserError


class DataStage:
    """Makes items that later stages train on: candidates, momenta of registrations, simulated radiographs.

        yield (radiographs := DataStage("radiographs", count=500, make=lambda number: {"image": simulate(number)}))
        yield TrainStage("network", networks, Samples(8, sample=lambda number: radiographs[order(number)]), ...)

    Every item is a file in the run folder, written atomically as soon as it is made: an interrupted stage continues
    with the first item that is missing. Processes that train together divide the items among themselves. Items are read
    on access, so there may be more of them than fit into memory. They stay in the run folder as long as the checkpoints
    do.

    Attributes:
        name: unique within the method; shown to the user.
        count: how many items there are.
        make: ``make(number)`` returns item ``number``, from 0, as tensors by name. It must depend on nothing but the
            seed, the number and what earlier stages have made.
    """

    def __init__(self, name: str, count: int, make: Callable[[int], dict[str, torch.Tensor]]):
        self.name, self.count, self.make = name, count, make
        self._folder: Path | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Item ``number``, on the CPU; may be called by several threads.

        Raises:
            UserError: its file is damaged or was deleted.
            RuntimeError: the stage has not run yet.
        """
        if not 0 <= number < self.count:
            raise IndexError(f"stage '{self.name}' has {self.count} items, not a number {number}")
        file = self.file(number)
        try:
            return load_tensors(file)["item"]
        except (FileNotFoundError, DamagedFileError, KeyError, TypeError):
            raise UserError(
                f"Item {number} of '{self.name}' ({file}) is missing or damaged: delete this file and resume the "
                "training, which makes it again."
            ) from None

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return (self[number] for number in range(self.count))

    def file(self, number: int) -> Path:
        """Where item ``number`` is. Raises RuntimeError before the stage has run."""
        if self._folder is None:
            raise RuntimeError(f"stage '{self.name}' has not run yet: yield it before its items are used")
        return self._folder / f"{number:06}.pt"

    def kept_in(self, folder: Path) -> None:
        """Called by the engine: the items are in this folder."""
        self._folder = folder
