"""MONAI's trainer, whose batch is computed in micro-batches when memory is short."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils.enums import CommonKeys

from MedDeepLib.devices.memory import is_out_of_memory, make_room
from MedDeepLib.errors import OutOfMemory
from MedDeepLib.training import ranks
from MedDeepLib.training.batches import Batch
from MedDeepLib.training.channels import channels_in_words
from MedDeepLib.training.nested import in_float32
from MedDeepLib.training.stages import TrainStage
from MedDeepLib.training.stages.train import first_on_image


class StageForward(torch.nn.Module):
    """A stage's forward pass as one module, so that ``DistributedDataParallel`` sees every trained parameter.

    Only the trained networks are its children: the others get no gradients, which DistributedDataParallel would wait
    for.
    """

    def __init__(self, stage: TrainStage):
        super().__init__()
        self._networks = dict(stage.networks)  # a plain dictionary: no children
        self._trained = torch.nn.ModuleList(stage.trained_networks.values())
        self._forward = stage.forward or first_on_image

    def forward(self, batch: Any) -> Any:
        with channels_in_words(self._networks):
            return self._forward(self._networks, batch)


class MicroBatchTrainer(SupervisedTrainer):
    """One iteration is one optimiser step with one whole batch, however many micro-batches it is split into.

    MONAI's own accumulation takes several iterations for a step, so that the number of a step, and with it the learning
    rate, the samples and the checkpoints, would depend on the available memory. Here only the order of the gradient sum
    changes. A loss that is not a mean over the samples (Dice over a batch) and batch normalisation see one micro-batch
    at a time; with several processes, batch normalisation sees only the samples of its own process.

    Attributes:
        dtype: of the forward pass; None for float32.
        loss_scaler: scales losses in float16; one that is not enabled does nothing.
        buffers: tensors that a forward pass changes (running statistics), restored before it is repeated.
        before_retry: called with the new number of micro-batches before the iteration is repeated.
    """

    dtype: torch.dtype | None = None
    loss_scaler: torch.amp.GradScaler
    buffers: list[torch.Tensor]
    before_retry: Callable[[int], None]

    def _iteration(self, engine: SupervisedTrainer, batch: Batch) -> dict[str, Any]:
        engine.network.train()
        before = [buffer.clone() for buffer in self.buffers]
        while not self._compute_gradients(batch):
            for buffer, value in zip(self.buffers, before, strict=True):
                buffer.copy_(value)
            batch = self._split_further(batch)
        self.loss_scaler.unscale_(engine.optimizer)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self.loss_scaler.step(engine.optimizer)
        self.loss_scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _compute_gradients(self, batch: Batch) -> bool:
        """Leave the gradients of the whole batch in the network; False when out of memory."""
        self.optimizer.zero_grad(set_to_none=True)
        self.state.output = None
        loss = 0.0
        try:
            for number, (piece, share) in enumerate(batch.pieces, start=1):
                # Processes that train together exchange the sum of all micro-batches.
                with nullcontext() if number == len(batch.pieces) else ranks.without_exchange(self.network):
                    output = self._output(piece)
                    piece_loss = self.loss_function(output, piece).mean() * share
                    self.loss_scaler.scale(piece_loss).backward()
                loss = loss + piece_loss.detach()
        except Exception as error:
            # One of several processes cannot repeat its step: the others are waiting for its gradients.
            if not is_out_of_memory(error) or ranks.count() > 1:
                raise
            return False
        self.state.output = {CommonKeys.LOSS: loss}
        return True

    def _output(self, piece: Any) -> Any:
        if self.dtype is None:
            return self.network(piece)
        with torch.autocast(self.state.device.type, dtype=self.dtype):
            output = self.network(piece)
        return in_float32(output)

    def _split_further(self, batch: Batch) -> Batch:
        count, size = len(batch.pieces), batch.size
        self.optimizer.zero_grad(set_to_none=True)
        batch.pieces.clear()
        make_room(self.state.device)
        if count >= size:
            raise OutOfMemory(
                f"There was not enough memory to train with a single sample at a time ({self.state.device}): choose "
                "smaller patches, close other programs, or use another device. The last checkpoint is kept."
            )
        count = min(size, 2 * count)
        self.before_retry(count)
        return batch.again(count)
