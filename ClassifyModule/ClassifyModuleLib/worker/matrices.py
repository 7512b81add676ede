"""Connectivity matrices as input: one size and order of regions, one scale for each edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.data.sources.matrix import Matrix, read_matrix
from MedDeepLib.errors import Stopped, UserError

from ClassifyModuleLib.worker.data import Arrays, Inputs
from ClassifyModuleLib.worker.inputs import Arrays as ArraysByName
from ClassifyModuleLib.worker.inputs import Learned, Read, needed, one_by_one

_ASYMMETRIC = 1e-6  # of the largest entry
_SKEWED = 20.0  # the largest entry in terms of the mean one, from which on counts are taken as logarithms
_LEAST_SPREAD = 0.1  # of an edge, in terms of the typical one: rare edges must not be blown up
_MOST_NAMED = 4


class MatrixInput:
    """A square matrix (d, d): how strongly regions are connected.

    Attributes:
        transform: "none"; "log": log(1 + x), for numbers of streamlines; "automatic": log if no entry is negative and
            the largest is much larger than the mean.
    """

    slot = "matrix"

    def __init__(self, transform: str, noise: float):
        self._transform, self._noise = transform, noise

    def learn(self, cases: Sequence[Case], context: Context) -> Learned:
        first = _square(read_matrix(cases[0].files(self.slot)[0]), cases[0].files(self.slot)[0].name)
        nodes = list(first.columns or first.rows)
        plan: dict[str, Any] = {"size": len(first.values), "nodes": nodes}
        values = np.stack(one_by_one(cases, lambda case: _ordered(case.files(self.slot)[0], plan), context, Stopped))
        learned = Learned(plan, data=values)
        known = np.abs(values[~np.isnan(values)])
        skewed = known.size and np.nanmin(values) >= 0 and known.max() > _SKEWED * max(known.mean(), 1e-12)
        plan["transform"] = ("log" if skewed else "none") if self._transform == "automatic" else self._transform
        if plan["transform"] == "log":
            if np.nanmin(values) < 0:
                raise UserError("Matrices with negative entries have no logarithm: set transform to none.")
            if self._transform == "automatic":
                learned.messages.append(
                    f"The largest entry of the matrices is {known.max() / known.mean():.0f} times the mean one: their "
                    "logarithms, log(1 + x), are used."
                )
        values = _transformed(values, plan)
        mean = np.nan_to_num(np.nanmean(values, 0)) if len(values) else values
        spread = np.sqrt(np.nan_to_num(np.nanmean((values - mean) ** 2, 0)))
        typical = float(np.sqrt(np.mean(spread[spread > 0] ** 2))) if (spread > 0).any() else 1.0
        learned.arrays = {
            "mean": torch.from_numpy(mean.astype(np.float32)),
            "scale": torch.from_numpy(np.maximum(spread, _LEAST_SPREAD * typical).astype(np.float32)),
        }
        directed = int(sum(_is_directed(one) for one in values))
        plan["directed"] = directed > 0
        if directed:
            learned.messages.append(
                f"{directed} of {len(cases)} training matrices are not symmetric: the direction of edges counts."
            )
        lacking = int(np.isnan(values).any((1, 2)).sum())
        if lacking:
            learned.messages.append(
                f"{lacking} of {len(cases)} training matrices lack entries: the mean of the edge takes their place."
            )
        return learned

    def load(self, cases: Sequence[Case], learned: Learned, context: Context, cache: Any) -> Inputs:
        matrices = [_ordered(case.files(self.slot)[0], learned.plan) for case in cases]
        size = learned.plan["size"]
        values = np.stack(matrices) if matrices else np.zeros((0, size, size))
        return Arrays(_scaled(values, learned.plan, learned.arrays), self._noise)

    def read(self, inputs: Mapping[str, Source], plan: Mapping[str, Any], arrays: ArraysByName) -> Read:
        file = needed(inputs, self.slot).files[0]
        values = _ordered(file, plan)
        notes = []
        missing = int(np.isnan(values).sum())
        if missing:
            notes.append(f"{missing} entries are missing: the training mean of each edge was taken.")
        if _is_directed(_transformed(values, plan)) and not plan["directed"]:
            notes.append("The matrix is not symmetric, but all training matrices are: check how it was made.")
        return Read(_scaled(values[None], plan, arrays), notes=(tuple(notes),))


def _square(matrix: Matrix, name: str) -> Matrix:
    rows, columns = matrix.values.shape
    if rows != columns:
        raise UserError(f"{name} has {rows} rows and {columns} columns: a connectivity matrix has as many of both.")
    if matrix.rows and matrix.columns and matrix.rows != matrix.columns:
        raise UserError(f"{name} names its rows and its columns differently: bring them into one order.")
    return matrix


def _ordered(file, plan: Mapping[str, Any]) -> np.ndarray:
    """The entries (d, d) in the order of the model's regions, NaN where they are missing."""
    matrix = _square(read_matrix(file), file.name)
    if len(matrix.values) != plan["size"]:
        raise UserError(
            f"{file.name} has {len(matrix.values)} regions, but the others have {plan['size']}: use one parcellation."
        )
    own, wanted = list(matrix.columns or matrix.rows), plan["nodes"]
    values = matrix.values
    if own and wanted and own != wanted:
        missing = [name for name in wanted if name not in own]
        if missing or len(set(own)) < len(own):
            named = ", ".join(missing[:_MOST_NAMED]) or own[0]
            raise UserError(f"{file.name} has no region {named}, which the others have: use one parcellation.")
        order = [own.index(name) for name in wanted]
        values = values[np.ix_(order, order)]
    values = values.copy()
    np.fill_diagonal(values, 0)  # a region's connection with itself says nothing, and programs fill it differently
    return values


def _transformed(values: np.ndarray, plan: Mapping[str, Any]) -> np.ndarray:
    return np.log1p(np.maximum(values, 0)) if plan["transform"] == "log" else values


def _scaled(values: np.ndarray, plan: Mapping[str, Any], arrays: ArraysByName) -> torch.Tensor:
    """Matrices (N, d, d) as the network takes them: (N, 1, d, d)."""
    scaled = (_transformed(values, plan) - arrays["mean"].numpy()) / arrays["scale"].numpy()
    return torch.from_numpy(np.nan_to_num(scaled).astype(np.float32))[:, None]


def _is_directed(values: np.ndarray) -> bool:
    known = np.nan_to_num(values)
    return bool(np.abs(known - known.T).max() > _ASYMMETRIC * max(float(np.abs(known).max()), 1e-12))
