"""The base of the patch methods: a cascade that screens an image with a window network and judges the candidates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context, Explanation, Prepared, parameter, with_defaults

from DetectModuleLib.method import DetectionMethod
from DetectModuleLib.parameters import DetectionParameters

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.core.stages import Stage
    from MedDeepLib.data.preparation import Plan

    from DetectModuleLib.worker.cascade import Look
    from DetectModuleLib.worker.cascade_prediction import CascadePredictor
    from DetectModuleLib.worker.screening import Screen, Search


@dataclass(frozen=True)
@with_defaults(batch_size=32)
class PatchParameters(DetectionParameters):
    """How window networks are trained, and how many candidates a case may have."""

    network_width: float = parameter(
        1.0, "Features of every layer, as a share of the published network's.", minimum=0.01, maximum=4.0
    )
    negatives: int = parameter(
        4000, "Places without a finding that training draws from, in all cases together.", minimum=10, maximum=1_000_000
    )
    shift: float = parameter(
        1.0,
        "Augmentation: how far a finding is moved from the middle of its window.",
        unit="voxels",
        minimum=0.0,
        maximum=50.0,
    )
    candidates: int = parameter(300, "Candidates of each image at most.", minimum=1, maximum=10_000)
    separation: float = parameter(
        0.0,
        "Of candidates, and of findings, that are closer than this only the likeliest stays; 0: half the size of a "
        "typical finding.",
        unit="mm",
        minimum=0.0,
        maximum=1000.0,
        advanced=True,
    )


@dataclass(frozen=True)
class ScreeningParameters(PatchParameters):
    """How a screening is trained in two rounds, and where its candidates are."""

    hard_steps: int = parameter(
        1000,
        "Steps of the second round of screening, which is trained on the false alarms of the first.",
        minimum=1,
        maximum=10_000_000,
    )
    candidate_threshold: float = parameter(
        0.3, "Screening score above which a place is a candidate.", minimum=0.0, maximum=1.0
    )
    stride: int = parameter(
        1,
        "Voxels from one window of the screening to the next; 2 takes an eighth of the time in 3D.",
        unit="voxels",
        minimum=1,
        maximum=16,
        advanced=True,
    )


@dataclass(frozen=True)
class CascadeParameters(ScreeningParameters):
    """How a cascade with networks that judge candidates is trained."""

    discriminate_steps: int = parameter(
        2000, "Steps of each network that judges candidates.", minimum=1, maximum=10_000_000
    )


class PatchMethod(DetectionMethod):
    """A cascade. A method says which networks screen, which judge, and how the latter are fused; nothing else.

    A finding is as large as a typical one of its class.
    """

    Parameters: ClassVar[type] = PatchParameters

    @abstractmethod
    def screens(self, channels: int, outputs: int) -> list[Screen]:
        """What screens, untrained, for each round of training; the last one is applied.

        The second round is trained on the false alarms of the first. The same object twice is trained further; another
        one, whose networks have other names, begins anew.

        Args:
            outputs: background and classes.
        """

    def looks(self, channels: int, outputs: int) -> list[Look]:
        """The networks that judge candidates, untrained; none: the peaks of the screening are the findings."""
        return []

    def search(self) -> Search:
        """How cases are searched: the peaks of the screening's map are candidates."""
        from DetectModuleLib.worker.screening import Search

        return Search()

    @property
    @abstractmethod
    def patch_size(self) -> tuple[int, int, int]:
        """Voxels of the screening's window."""

    def configured(self, context: Context) -> PatchMethod:
        from DetectModuleLib.worker.configuration import typical_grid

        wanted = self.parameters.spacing
        if all(wanted):
            return self
        found, _ = typical_grid(context.dataset)
        spacing = tuple(float(w or f) for w, f in zip(wanted, found, strict=True))
        configured = type(self)(replace(self.parameters, spacing=spacing))
        words = " x ".join(f"{n:g}" for n in spacing)
        configured.explanation = Explanation(f"Voxels of {words} mm, the median of the training images.")
        return configured

    def largest_finding(self, plan: Plan) -> tuple[float, ...]:
        return tuple(1.0 * n for n in plan.patch_size[: self.dimensions]) + (float("inf"),) * (3 - self.dimensions)

    def prepare(self, context: Context) -> Prepared:
        from DetectModuleLib.worker.sizes import class_sizes

        prepared = super().prepare(context)
        sizes = class_sizes(prepared.data.training, len(context.dataset.classes))
        return Prepared(prepared.facts | {"class_sizes": sizes}, prepared.data)

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from DetectModuleLib.worker.cascade import Cascade

        yield from Cascade(self, prepared, context).stages()
        prepared.data.remove()

    def predictor(self, model: TrainedModel, context: Context, options: Any) -> CascadePredictor:
        from DetectModuleLib.worker.cascade_prediction import CascadePredictor

        return CascadePredictor(self, model, context, options)
