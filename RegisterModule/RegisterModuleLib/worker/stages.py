"""The training stages that registration methods are made of; each trains a network that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import Context

from RegisterModuleLib.parameters import TrainingParameters

if TYPE_CHECKING:
    import torch
    from MedDeepLib.core.stages import Sample
    from MedDeepLib.training.stages import TrainStage

    from RegisterModuleLib.worker.training import Changes, PairSampler, TrainingSet

_AVERAGE = 0.99


def point_stage(
    network: Any,  # a PointNetwork
    data: TrainingSet,
    validation: TrainingSet | None,
    changes: Changes,
    context: Context,
    settings: TrainingParameters,
    steps: int,
) -> TrainStage:
    """The stage that trains the network which finds corresponding points, for the matrix."""
    from RegisterModuleLib.worker.objectives import PointLoss, PointValidation
    from RegisterModuleLib.worker.training import PairSampler

    sampler = PairSampler(data, changes, context.seed, coarser=2)
    check = None
    if validation is not None:
        held_out = PairSampler(validation, changes, context.seed + 1, coarser=2)
        check = PointValidation(network, held_out, settings.validation_pairs, context.device)
    return pair_stage("points", network, sampler, PointLoss(sampler.grid), check, settings, steps)


def structure_stage(
    network: Any,  # a StructureNetwork
    data: TrainingSet,
    validation: TrainingSet | None,
    changes: Changes,
    context: Context,
    settings: TrainingParameters,
    steps: int,
) -> TrainStage:
    """The stage that trains the network which finds the structures in images of any contrast."""
    from MedDeepLib.training.channels import giving_channels

    from RegisterModuleLib.worker.objectives import StructureLoss, StructureValidation
    from RegisterModuleLib.worker.training import StructureSampler

    check = None
    if validation is not None:
        held_out = StructureSampler(validation, changes, context.seed + 1)
        check = StructureValidation(network, held_out, settings.validation_pairs, context.device)
    sampler = StructureSampler(data, changes, context.seed)
    count = len(data.structures)
    forward = giving_channels(1 + count, f"{count} structure{'s' if count > 1 else ''} and everything else")
    return pair_stage("structures", network, sampler, StructureLoss(), check, settings, steps, forward)


def field_stage(
    network: torch.nn.Module,
    sampler: PairSampler,
    held_out: PairSampler | None,
    loss: Callable,
    context: Context,
    settings: TrainingParameters,
    steps: int,
) -> TrainStage:
    """The stage that trains the network which predicts the velocity field."""
    from MedDeepLib.training.channels import giving_channels

    from RegisterModuleLib.worker.objectives import FieldValidation

    check = None
    if held_out is not None:
        check = FieldValidation(network, held_out, settings.validation_pairs, context.device)
    forward = giving_channels(3, "the velocity along each axis")
    return pair_stage("field", network, sampler, loss, check, settings, steps, forward)


def pair_stage(
    name: str,
    network: torch.nn.Module,
    sampler: Callable[[int], Sample],
    loss: Callable[[Any, Sample], torch.Tensor],
    check: Any,
    settings: TrainingParameters,
    steps: int,
    forward: Callable[[dict[str, torch.nn.Module], Sample], Any] | None = None,
) -> TrainStage:
    """A stage that trains one network on pairs as ``settings`` say, under its own name.

    Args:
        sampler: makes sample ``number``, see :class:`~RegisterModuleLib.worker.training.PairSampler`.
        check: measures the network; has a ``key_metric`` and the ``chance`` of it. None: it is not validated.
        forward: see :class:`~MedDeepLib.training.stages.TrainStage`.
    """
    import torch
    from MedDeepLib.training.schedules import schedule
    from MedDeepLib.training.stages import Optimisation, Samples, TrainStage, Validation

    validation = None
    if check is not None:
        validation = Validation(check, check.key_metric, settings.validate_every, chance=check.chance)
    return TrainStage(
        name,
        {name: network},
        Samples(settings.batch_size, sample=sampler, collate=_collated),
        loss=loss,
        forward=forward,
        optimisation=Optimisation(
            torch.optim.Adam(network.parameters(), settings.learning_rate),
            steps,
            seconds=60 * settings.minutes,
            learning_rate=schedule("cosine", steps, min(100, max(1, steps // 10))),
            max_gradient_norm=12.0,
            average=_AVERAGE,
        ),
        validation=validation,
    )


def _collated(samples: list[Sample]) -> Sample:
    """A batch of the entries that all samples have: if some samples lack label maps, the batch has none."""
    from torch.utils.data import default_collate

    common = set(samples[0]).intersection(*samples[1:])
    return default_collate([{name: value for name, value in one.items() if name in common} for one in samples])
