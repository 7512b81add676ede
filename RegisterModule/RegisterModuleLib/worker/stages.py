"""The training stages that registration methods are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from MedDeepLib.core import Context

if TYPE_CHECKING:
    from MedDeepLib.core.stages import Sample
    from MedDeepLib.training.stages import TrainStage

    from RegisterModuleLib.worker.training import Changes, TrainingSet

_AVERAGE = 0.99


class WithNetworks(Protocol):
    """What is trained: a :class:`RegisterModuleLib.method.RegistrationMethod`."""

    parameters: Any

    def make_networks(self, channels: int, structures: int = 0) -> dict[str, Any]: ...


def point_stage(
    method: WithNetworks,
    data: TrainingSet,
    validation: TrainingSet | None,
    changes: Changes,
    context: Context,
    steps: int,
) -> TrainStage:
    """The stage that trains the network which finds corresponding points, for the matrix."""
    from RegisterModuleLib.worker.objectives import PointLoss, PointValidation
    from RegisterModuleLib.worker.training import PairSampler

    network = _network(method, "points", 0, context)
    sampler = PairSampler(data, changes, context.seed, coarser=2)
    check = None
    if validation is not None:
        held_out = PairSampler(validation, changes, context.seed + 1, coarser=2)
        check = PointValidation(network, held_out, method.parameters.validation_pairs, context.device)
    return _stage("points", network, method, sampler, PointLoss(sampler.grid), check, steps)


def structure_stage(
    method: WithNetworks,
    data: TrainingSet,
    validation: TrainingSet | None,
    changes: Changes,
    context: Context,
    steps: int,
) -> TrainStage:
    """The stage that trains the network which finds the structures in images of any contrast."""
    from RegisterModuleLib.worker.objectives import StructureLoss, StructureValidation
    from RegisterModuleLib.worker.training import StructureSampler

    network = _network(method, "structures", len(data.structures), context)
    check = None
    if validation is not None:
        held_out = StructureSampler(validation, changes, context.seed + 1)
        check = StructureValidation(network, held_out, method.parameters.validation_pairs, context.device)
    sampler = StructureSampler(data, changes, context.seed)
    return _stage("structures", network, method, sampler, StructureLoss(), check, steps)


def field_stage(
    method: WithNetworks, sampler: Callable, held_out: Any, loss: Callable, context: Context
) -> TrainStage:
    """The stage that trains the network which predicts the velocity field."""
    from RegisterModuleLib.worker.objectives import FieldValidation
    from RegisterModuleLib.worker.training import MapSampler

    structures = len(sampler.data.structures) if isinstance(sampler, MapSampler) else 0
    network = _network(method, "field", structures, context)
    check = None
    if held_out is not None:
        check = FieldValidation(network, held_out, method.parameters.validation_pairs, context.device)
    return _stage("field", network, method, sampler, loss, check, method.parameters.steps)


def _network(method: WithNetworks, name: str, structures: int, context: Context):
    import torch

    torch.manual_seed(context.seed)
    return method.make_networks(len(context.dataset.channels), structures)[name].to(context.device)


def _stage(name: str, network, method: WithNetworks, sampler, loss, check, steps: int) -> TrainStage:
    import torch
    from MedDeepLib.training.schedules import schedule
    from MedDeepLib.training.stages import Optimisation, Samples, TrainStage, Validation

    settings = method.parameters
    validation = None
    if check is not None:
        validation = Validation(check, check.key_metric, settings.validate_every, chance=check.chance)
    return TrainStage(
        name,
        {name: network},
        Samples(settings.batch_size, sample=sampler, collate=_collated),
        loss=loss,
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
    """A batch of what all samples have: where only some cases have label maps, a batch with others goes without."""
    from torch.utils.data import default_collate

    common = set(samples[0]).intersection(*samples[1:])
    return default_collate([{name: value for name, value in one.items() if name in common} for one in samples])
