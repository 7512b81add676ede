"""How large the findings of a dataset are: what anchors, patches and strides are chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from MedDeepLib.data.preparation import Plan
from MedDeepLib.training.dense.patches import CachedCase

from DetectModuleLib.worker.cases import boxes_of

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def all_sizes(cases: Sequence[CachedCase]) -> np.ndarray:
    """Sizes (N, 3) of all findings, in voxels of the network's grid."""
    sizes = [boxes_of(case)[0][:, 3:] for case in cases]
    return np.concatenate(sizes).astype(np.float64) if sizes else np.zeros((0, 3))


def sizes_of(cases: Sequence[CachedCase], plan: Plan) -> dict[str, Any]:
    """Facts for a model: the number of findings, and quantiles of their sizes in voxels of the network's grid."""
    sizes = all_sizes(cases)
    listed = np.quantile(sizes, _QUANTILES, axis=0) if len(sizes) else np.zeros((0, 3))
    return {
        "findings": len(sizes),
        "quantiles": list(_QUANTILES),
        "voxels": np.round(listed, 3).tolist(),
        "spacing": list(plan.spacing),
    }
