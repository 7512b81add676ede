"""Batches of a stage: made ahead of time by background threads, finished on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from MedDeepLib.devices.threads import available_cores
from MedDeepLib.training.stage import Sample, Stage

_MOST_THREADS = 8


class BatchStream:
    """The batches of a stage from ``first_step`` to its end, in order, whatever the number of threads.

    Threads rather than processes: they work alike on every system, share the images in memory, and the slicing and
    resampling they spend their time in releases Python's lock. MONAI's ThreadDataLoader would do, but an exception in
    its thread ends the data in silence; here it reaches the trainer.

    On the processor a thread makes a batch to the end. For a card it makes the samples and leaves the rest to the card,
    whose work is queued behind the step before and costs the training no wait.
    """

    def __init__(
        self,
        stage: Stage,
        first_step: int = 0,
        device: torch.device | None = None,
        seed: int = 0,
        threads: int | None = None,
        first_batch: int | None = None,
        share: tuple[int, int] = (0, 1),
    ):
        """
        Args:
            seed: of the generators that ``stage.augment`` gets; different for each stage.
            first_batch: the number of the batch of ``first_step``, if it is another one: batches are counted over all
                processes that train together.
            share: (rank, count): this process makes every ``count``-th batch, beginning with number ``rank``.
            threads: if the stage leaves it open; None: one on the processor, as many as help on a card.
        """
        self._stage, self._first_step, self._seed = stage, first_step, seed
        self._device = torch.device("cpu") if device is None else device
        self._first_batch, self._share = first_step if first_batch is None else first_batch, share
        wanted = [number for number in (stage.threads, threads) if number is not None]
        self._threads = wanted[0] if wanted else _usual_threads(self._device)

    def __len__(self) -> int:
        return self._stage.steps - self._first_step

    def __iter__(self) -> Iterator[Sample]:
        if self._threads == 0:
            for step in range(self._first_step, self._stage.steps):
                yield self._finished(step, self._begun(step))
            return
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="samples")
        waiting: deque[Future] = deque()
        try:
            for step in range(self._first_step, self._stage.steps):
                border = self._border(step)
                while len(waiting) < self._threads + 2 and step + len(waiting) < border:
                    waiting.append(pool.submit(self._begun, step + len(waiting)))
                yield self._finished(step, waiting.popleft().result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _border(self, step: int) -> int:
        """The first step whose batch may not be made yet when ``step`` is about to be trained."""
        every = self._stage.refresh_every
        return min(self._stage.steps, (step // every + 1) * every) if every else self._stage.steps

    def _number(self, step: int) -> int:
        rank, count = self._share
        return self._first_batch + (step - self._first_step) * count + rank

    def _begun(self, step: int) -> Any:
        """What a thread does for a batch: all of it for the processor, the samples for a card."""
        stage, number = self._stage, self._number(step)
        if stage.batch is not None:
            return self._ready_to_move(stage.batch(number))
        first = number * stage.batch_size
        samples = [self._ready_to_move(stage.sample(first + i)) for i in range(stage.batch_size)]
        return self._collated(step, samples) if self._device.type == "cpu" else samples

    def _finished(self, step: int, begun: Any) -> Sample:
        if self._device.type == "cpu":
            return begun
        if self._stage.batch is not None:
            return self._moved(begun)
        return self._collated(step, [self._moved(sample) for sample in begun])

    def _collated(self, step: int, samples: list[Sample]) -> Sample:
        stage = self._stage
        if stage.augment is not None:
            first = self._number(step) * stage.batch_size
            samples = [stage.augment(sample, self._generator(first + i)) for i, sample in enumerate(samples)]
        return stage.collate(samples)

    def _generator(self, number: int) -> torch.Generator:
        state = np.random.SeedSequence([self._seed, number]).generate_state(2)
        return torch.Generator(self._device).manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)

    def _ready_to_move(self, sample: Sample) -> Sample:
        """With its tensors where a card can fetch them from while the processor does other things."""
        if self._device.type != "cuda":
            return sample
        return {name: v.pin_memory() if isinstance(v, torch.Tensor) else v for name, v in sample.items()}

    def _moved(self, sample: Sample) -> Sample:
        return {
            name: v.to(self._device, non_blocking=True) if isinstance(v, torch.Tensor) else v
            for name, v in sample.items()
        }


def _usual_threads(device: torch.device) -> int:
    """On the processor the network needs the cores itself."""
    return 1 if device.type == "cpu" else max(1, min(_MOST_THREADS, available_cores() - 1))
