"""MONAI's trainer, whose batch can go through the network in parts when memory is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils.enums import CommonKeys

from MedDeepLib.devices.memory import is_out_of_memory, make_room
from MedDeepLib.errors import OutOfMemory
from MedDeepLib.training import ranks
from MedDeepLib.training.stage import Sample


class PartsTrainer(SupervisedTrainer):
    """One iteration is one step of the optimiser with one whole batch, in however many parts it is computed.

    MONAI's own accumulation takes several iterations for a step, so that the number of a step, and with it the learning
    rate, the samples and the checkpoints, would depend on the memory there is. Here only the gradients are summed up in
    another order. A loss that is no mean over the samples (Dice over a batch) and batch normalisation see a part at a
    time; of several processes, batch normalisation sees what is its own.

    Attributes:
        parts: in how many parts a batch goes through the network; doubled when memory runs out.
        loss_scaler: scales losses in float16; one that is not enabled does nothing.
        buffers: tensors that a forward pass changes (running statistics), put back when it is done again.
        before_retry: called with the number of parts before the iteration is done again with more of them.
    """

    parts: int = 1
    loss_scaler: torch.amp.GradScaler
    buffers: list[torch.Tensor]
    before_retry: Callable[[int], None]

    def _iteration(self, engine: SupervisedTrainer, batch: Sample) -> dict[str, Any]:
        engine.network.train()
        before = [buffer.clone() for buffer in self.buffers]
        while not self._compute_gradients(batch):
            for buffer, value in zip(self.buffers, before, strict=True):
                buffer.copy_(value)
            self._use_more_parts(_batch_size(batch))
        self.loss_scaler.unscale_(engine.optimizer)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self.loss_scaler.step(engine.optimizer)
        self.loss_scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _compute_gradients(self, batch: Sample) -> bool:
        """Leave the gradients of the whole batch in the network; False when memory did not suffice."""
        self.optimizer.zero_grad(set_to_none=True)
        self.state.output = None
        loss = 0.0
        try:
            for number, (part, share) in enumerate(_split(batch, self.parts), start=1):
                # Processes that train together exchange the sum of all parts.
                with nullcontext() if number == self.parts else ranks.without_exchange(self.network):
                    output = self.inferer(part[CommonKeys.IMAGE], self.network)
                    part_loss = self.loss_function(output, part).mean() * share
                    self.loss_scaler.scale(part_loss).backward()
                loss = loss + part_loss.detach()
        except Exception as error:
            # One of several processes cannot begin its step again: the others are waiting for what it was to send.
            if not is_out_of_memory(error) or ranks.count() > 1:
                raise
            return False
        self.state.output = {CommonKeys.LOSS: loss}
        return True

    def _use_more_parts(self, batch_size: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        make_room(self.state.device)
        if self.parts >= batch_size:
            raise OutOfMemory(
                f"There was not enough memory to train with a single patch at a time ({self.state.device}): choose "
                "smaller patches, close other programs, or use another device. The checkpoint before is kept."
            )
        self.parts = min(batch_size, 2 * self.parts)
        self.before_retry(self.parts)


def _split(batch: Sample, parts: int) -> Iterator[tuple[Sample, float]]:
    """The parts of a batch, each with its share of the samples."""
    if parts == 1:
        yield batch, 1.0
        return
    size = _batch_size(batch)
    pieces = {key: value.tensor_split(parts) for key, value in batch.items()}
    for number in range(parts):
        part = {key: value[number] for key, value in pieces.items()}
        yield part, _batch_size(part) / size


def _batch_size(batch: Sample) -> int:
    return len(next(iter(batch.values())))
