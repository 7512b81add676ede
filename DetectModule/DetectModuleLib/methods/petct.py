"""Candidates from PET and CT, judged by a network of several views, rules and an SVM (Teramoto et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import parameter, with_defaults
from MedDeepLib.errors import UserError

from DetectModuleLib.patch_method import PatchMethod, PatchParameters

if TYPE_CHECKING:
    from MedDeepLib.core import Context, Prepared, TrainedModel
    from MedDeepLib.core.stages import Stage
    from MedDeepLib.data.dataset import Dataset

    from DetectModuleLib.worker.cascade import Look
    from DetectModuleLib.worker.petct_stages import PetCtPredictor
    from DetectModuleLib.worker.screening import Screen
    from DetectModuleLib.worker.uptake import TwoStreams


@dataclass(frozen=True)
@with_defaults(candidates=150)
class PetCtParameters(PatchParameters):
    field: int = parameter(21, "Edge of the field that the network sees.", unit="voxels", minimum=11, maximum=129)


class PetCt(PatchMethod):
    """Two streams of candidates and an ensemble that removes the false ones (Teramoto et al. 2016, 10.1118/1.4948498).

    Candidates are peaks of a contrast-enhancing filter on CT, and of the uptake in PET; they are merged (V). The limits
    are learned, so that nineteen of twenty training lesions reach them. What a network of three orthogonal views says
    is one feature, beside the shape in CT and the uptake in PET; rules sort out what is unlike any lesion, a support
    vector machine judges the rest (V). Unlike in the other cascades no network screens, and the last word is not a
    network's. The first channel is the CT, the last one the PET, resampled to the CT's grid.

    The filter is a difference of Gaussians, the network and the features are ours (R). Paper: 104 cases, candidates
    97.2 % at 72.8 false positives (V), in the end 90.1 % at 4.9 (R).
    """

    name, title = "petct", "PET/CT ensemble"
    reference = "Teramoto et al. 2016, doi 10.1118/1.4948498"
    summary = "Finds candidates in CT and in PET, and judges them by a network, rules and a support vector machine."
    Parameters = PetCtParameters

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        if len(dataset.channels) < 2:
            raise UserError(f"petct needs two channels, CT and PET; {dataset.name} has {len(dataset.channels)}.")

    @property
    def patch_size(self) -> tuple[int, int, int]:
        return (self.parameters.field,) * 3

    def search(self) -> TwoStreams:
        from DetectModuleLib.worker.uptake import TwoStreams

        return TwoStreams()

    def screens(self, channels: int, outputs: int) -> list[Screen]:
        return []

    def looks(self, channels: int, outputs: int) -> list[Look]:
        from DetectModuleLib.worker.cascade import Look
        from DetectModuleLib.worker.networks.windows import three_planes

        return [Look("views", *three_planes(self.parameters.field, channels, outputs, self.parameters.network_width))]

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from DetectModuleLib.worker.petct_stages import petct_stages

        yield from petct_stages(self, prepared, context)
        prepared.data.remove()

    def predictor(self, model: TrainedModel, context: Context, options: Any) -> PetCtPredictor:
        from DetectModuleLib.worker.petct_stages import PetCtPredictor

        return PetCtPredictor(self, model, context, options)
