"""The outputs of a deeply supervised network: all of them for the loss, the finest for prediction."""

from __future__ import annotations

import torch


class DeepOutputs(torch.nn.Sequential):
    """A deeply supervised MONAI network, followed by layers that each of its outputs goes through.

    In training it returns a list, the finest output first; MONAI's network puts them into one tensor (B, outputs,
    classes, ...). Otherwise it returns the finest alone.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        output = self[0](image)
        if output.ndim == image.ndim:
            return self._finished(output)
        return [self._finished(scores) for scores in output.unbind(1)]

    def _finished(self, scores: torch.Tensor) -> torch.Tensor:
        for layer in list(self)[1:]:
            scores = layer(scores)
        return scores
