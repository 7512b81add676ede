"""SegResNet: a residual encoder with a light decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedDeepLib.core import parameter
from MedDeepLib.errors import UserError

from SegmentModuleLib.method import SegmentationMethod
from SegmentModuleLib.parameters import TrainingParameters

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SegResNetParameters(TrainingParameters):
    filters: int = parameter(
        16, "Feature maps at full resolution; they double at every level.", minimum=8, maximum=256, advanced=True
    )
    blocks: tuple[int, ...] = parameter(
        (1, 2, 2, 4), "Residual blocks at each level of the encoder.", minimum=1, maximum=16, advanced=True
    )
    dropout: float = parameter(0.0, "Dropout after the first convolution.", minimum=0.0, maximum=0.9, advanced=True)


class SegResNet(SegmentationMethod):
    """Encoder-decoder of residual blocks (Myronenko 2018, arXiv 1810.11654), without its autoencoder branch."""

    name = "segresnet"
    title = "SegResNet"
    reference = "Myronenko 2018, arXiv 1810.11654"
    summary = "Residual encoder with a light decoder for volumes: fewer parameters and deeper than a U-Net."
    Parameters = SegResNetParameters

    @property
    def downsampling(self) -> tuple[int, int, int]:
        return (2 ** (len(self.parameters.blocks) - 1),) * 3

    def check_parameters(self) -> None:
        settings = self.parameters
        if settings.filters % 8:
            raise UserError(f"filters must be a multiple of 8, not {settings.filters}.")
        if len(settings.blocks) < 2:
            raise UserError("blocks needs at least two numbers, one per level of the encoder.")
        super().check_parameters()

    def network(self, channels: int, classes: int) -> torch.nn.Module:
        from monai.networks.nets import SegResNet as Network

        settings = self.parameters
        return Network(
            spatial_dims=3,
            init_filters=settings.filters,
            in_channels=channels,
            out_channels=classes,
            dropout_prob=settings.dropout or None,
            blocks_down=settings.blocks,
            blocks_up=(1,) * (len(settings.blocks) - 1),
        )
