"""Batches of a stage, made ahead of time by background threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from MedDeepLib.training.stage import Sample, Stage


class BatchStream:
    """The batches of a stage from ``first_step`` to its end, in order, whatever the number of threads.

    Threads rather than processes: they work alike on every system, share the images in memory, and the resampling
    they spend their time in releases Python's lock. MONAI's ThreadDataLoader would do, but an exception in its thread
    ends the data in silence; here it reaches the trainer.
    """

    def __init__(self, stage: Stage, first_step: int = 0, threads: int = 1, ahead: int = 3):
        self._stage, self._first_step, self._threads, self._ahead = stage, first_step, threads, ahead

    def __len__(self) -> int:
        return self._stage.steps - self._first_step

    def __iter__(self) -> Iterator[Sample]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="samples")
        waiting: deque[Future] = deque()
        try:
            for step in range(self._first_step, self._stage.steps):
                while len(waiting) < self._ahead and step + len(waiting) < self._stage.steps:
                    waiting.append(pool.submit(self._batch, step + len(waiting)))
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, step: int) -> Sample:
        first = step * self._stage.batch_size
        return self._stage.collate([self._stage.sample(first + i) for i in range(self._stage.batch_size)])
