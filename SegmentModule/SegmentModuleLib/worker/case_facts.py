"""Facts about the training and validation cases before training, and messages about them."""

from __future__ import annotations

from collections.abc import Mapping

from MedDeepLib.core import Context
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.errors import UserError
from MedDeepLib.training.dense.patches import CachedCase

from SegmentModuleLib.worker.postprocessing import are_single_pieces


def has_structures(case: CachedCase) -> bool:
    """False for a healthy case, whose label is empty."""
    return any(case.voxels)


def single_pieces(cases: list[CachedCase], dataset: Dataset) -> dict[str, bool]:
    """For each class by name, whether every label of these cases has it in one piece."""
    single = are_single_pieces(case.extras["pieces"] for case in cases)
    return {name: bool(is_single) for name, is_single in zip(dataset.classes, single[1:], strict=False)}


def tell_healthy(dataset: Dataset, training: list[CachedCase], validation: list[CachedCase], context: Context) -> None:
    """Report cases without structures and classes without cases; raise UserError if there is nothing to learn."""
    if not any(map(has_structures, training)):
        empty = f"The labels of all {len(training)} training cases are empty"
        if len(training) == 1:
            empty = f"The label of the only training case, {dataset.training[0].name}, is empty"
        elsewhere = "; only validation cases have structures" if any(map(has_structures, validation)) else ""
        raise UserError(f"{empty}{elsewhere}: draw the structures in training cases.")
    pairs = [*zip(dataset.training, training, strict=True), *zip(dataset.validation, validation, strict=False)]
    healthy = [case.name for case, loaded in pairs if not has_structures(loaded)]
    if healthy:
        names = ", ".join(healthy[:5]) + (", ..." if len(healthy) > 5 else "")
        have, count = ("has", "counts") if len(healthy) == 1 else ("have", "count")
        context.report(
            "message",
            message=f"{len(healthy)} of {len(pairs)} cases {have} no structure at all and {count} as healthy: {names}.",
        )
    names = enumerate(dataset.classes, start=1)
    absent = [name for index, name in names if not any(index in case.voxels for case in training)]
    if absent:
        context.report(
            "warning", message=f"No training case has {', '.join(absent)}: the network cannot learn to find it."
        )
    if validation and not any(map(has_structures, validation)):
        context.report(
            "warning",
            message="No validation case has a structure, so the training is not validated and its last weights are "
            "kept: add cases with structures to the validation.",
        )


def tell_padding(cases: list[CachedCase], context: Context) -> None:
    """Report CT images whose padding was taken for air."""
    found = [[v for v in case.extras["padding"].tolist() if v == v] for case in cases if "padding" in case.extras]
    count, values = sum(map(bool, found)), sorted({value for of_case in found for value in of_case}, reverse=True)
    if count:
        numbers = " and ".join(f"{value:.0f}" for value in values)
        context.report(
            "message",
            message=f"{count} of {len(cases)} cases {'has' if count == 1 else 'have'} padding of {numbers} around the "
            "scanned field: it was treated as air.",
        )


def tell_post_processing(single_piece: Mapping[str, bool], context: Context) -> None:
    """Report what post-processing will remove when the model is applied."""
    names = [name for name, is_single in single_piece.items() if is_single]
    if names:
        context.report(
            "message",
            message=f"No label has {', '.join(names)} in more than one piece: applying the model will keep only the "
            "largest piece (option largest_component).",
        )
