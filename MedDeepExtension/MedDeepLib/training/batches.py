"""Batches of a stage: made ahead of time by background threads, finished on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from MedDeepLib.core.stages import Sample
from MedDeepLib.devices.threads import available_cores
from MedDeepLib.training.nested import length, mapped, split
from MedDeepLib.training.stages import TrainStage

_MOST_THREADS = 8


@dataclass
class Batch:
    """The batch of one step, split into micro-batches.

    Attributes:
        pieces: micro-batches, each with its share of the samples.
        size: the number of samples.
        again: ``again(count)`` makes the same batch in that many micro-batches.
    """

    pieces: list[tuple[Sample, float]]
    size: int
    again: Callable[[int], Batch]


class BatchStream:
    """The batches of a stage from ``first_step`` to its end, in order, whatever the number of threads.

    Threads rather than processes: they work alike on every system, share the images in memory, and the slicing and
    resampling they spend their time in releases Python's lock. MONAI's ThreadDataLoader would do, but an exception in
    its thread ends the data in silence; here it reaches the trainer.

    On the CPU a thread completes the batch. For a GPU it only makes the samples; augmentation and collation are queued
    on the GPU behind the previous step, so training does not wait for them.

    Samples are divided among micro-batches before they are collated, so a batch may hold anything. A sample is a
    function of its number, so a batch can be made again in more micro-batches when memory has run out.
    """

    def __init__(
        self,
        stage: TrainStage,
        first_step: int = 0,
        device: torch.device | None = None,
        seed: int = 0,
        threads: int | None = None,
        first_batch: int | None = None,
        share: tuple[int, int] = (0, 1),
        micro_batches: Callable[[], int] = lambda: 1,
    ):
        """
        Args:
            seed: of the generators that ``augment`` gets; different for each stage.
            first_batch: number of the first step's batch, if it differs from ``first_step``: batches are counted over
                all processes that train together.
            share: (rank, count): this process makes every ``count``-th batch, beginning with number ``rank``.
            threads: number of threads if the stage does not set it; None: one on the CPU, as many as help on a GPU.
            micro_batches: returns how many a batch is split into, as of now.
        """
        self._data, self._steps = stage.data, stage.optimisation.steps
        self._refresh_every = stage.refresh.every if stage.refresh else 0
        self._first_step, self._seed = first_step, seed
        self._device = torch.device("cpu") if device is None else device
        self._first_batch, self._share = first_step if first_batch is None else first_batch, share
        wanted = [number for number in (stage.data.threads, threads) if number is not None]
        self._threads = wanted[0] if wanted else _usual_threads(self._device)
        self._micro_batches = micro_batches

    def __len__(self) -> int:
        return self._steps - self._first_step

    def __iter__(self) -> Iterator[Batch]:
        if self._threads == 0:
            for step in range(self._first_step, self._steps):
                yield self._batch(step, self._begun(step, self._micro_batches()))
            return
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="samples")
        waiting: deque[Future] = deque()
        try:
            for step in range(self._first_step, self._steps):
                border = self._border(step)
                while len(waiting) < self._threads + 2 and step + len(waiting) < border:
                    waiting.append(pool.submit(self._begun, step + len(waiting), self._micro_batches()))
                yield self._batch(step, waiting.popleft().result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _border(self, step: int) -> int:
        """The first step whose batch may not be made yet when ``step`` is about to be trained."""
        every = self._refresh_every
        return min(self._steps, (step // every + 1) * every) if every else self._steps

    def _number(self, step: int) -> int:
        rank, count = self._share
        return self._first_batch + (step - self._first_step) * count + rank

    def _begun(self, step: int, count: int) -> tuple[int, Any]:
        """A thread's part of a batch in ``count`` micro-batches: all of it on the CPU, only the samples for a GPU."""
        data, number = self._data, self._number(step)
        if data.batch is not None:
            return count, self._ready_to_move(data.batch(number))
        assert data.sample is not None  # a stage has one or the other
        first = number * data.batch_size
        samples = [self._ready_to_move(data.sample(first + i)) for i in range(data.batch_size)]
        return count, self._collated(step, samples, count) if self._collates_ahead else samples

    @property
    def _collates_ahead(self) -> bool:
        """Whether a thread makes micro-batches, not samples."""
        return self._data.batch is None and self._device.type == "cpu"

    def _batch(self, step: int, begun: tuple[int, Any]) -> Batch:
        """The batch as it is needed now: more micro-batches may be wanted than when a thread made it."""
        wanted, (count, content) = self._micro_batches(), begun
        if count != wanted and self._collates_ahead:
            content = self._begun(step, wanted)[1]
        return self._finished(step, content, wanted)

    def _finished(self, step: int, content: Any, count: int) -> Batch:
        if self._data.batch is not None:
            batch = self._moved(content)
            parts = split(batch, count) if count > 1 else [(batch, length(batch) or self._data.batch_size)]
        elif self._collates_ahead:
            parts = content
        else:
            parts = self._collated(step, [self._moved(sample) for sample in content], count)
        size = sum(samples for _, samples in parts)
        pieces = [(piece, samples / size) for piece, samples in parts]
        return Batch(pieces, size, lambda more: self._finished(step, self._begun(step, more)[1], more))

    def _collated(self, step: int, samples: list[Sample], count: int) -> list[tuple[Sample, int]]:
        """Micro-batches of samples that are on the device, each with its number of samples."""
        data = self._data
        if data.augment is not None:
            first = self._number(step) * data.batch_size
            samples = [data.augment(sample, self._generator(first + i)) for i, sample in enumerate(samples)]
        return [(data.collate(part), number) for part, number in split(samples, count)]

    def _generator(self, number: int) -> torch.Generator:
        state = np.random.SeedSequence([self._seed, number]).generate_state(2)
        return torch.Generator(self._device).manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)

    def _ready_to_move(self, sample: Sample) -> Sample:
        """The sample, for a GPU with its tensors in pinned memory, which can be copied asynchronously."""
        return mapped(lambda tensor: tensor.pin_memory(), sample) if self._device.type == "cuda" else sample

    def _moved(self, sample: Sample) -> Sample:
        if self._device.type == "cpu":
            return sample
        return mapped(lambda tensor: tensor.to(self._device, non_blocking=True), sample)


def keeping_lists(*names: str) -> Callable[[list[Sample]], Sample]:
    """For ``Samples.collate``: the entries called ``names`` become lists with one element for each sample.

    For boxes, points and whatever else differs in number or shape from sample to sample; all else is stacked.
    """

    def collate(samples: list[Sample]) -> Sample:
        stacked = [{name: value for name, value in sample.items() if name not in names} for sample in samples]
        batch = torch.utils.data.default_collate(stacked)
        return batch | {name: [sample[name] for sample in samples] for name in names if name in samples[0]}

    return collate


def _usual_threads(device: torch.device) -> int:
    """One on the CPU, where the network needs the cores itself."""
    return 1 if device.type == "cpu" else max(1, min(_MOST_THREADS, available_cores() - 1))
