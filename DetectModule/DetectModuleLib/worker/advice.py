"""What is known to go wrong with a dataset, said before its training begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from MedDeepLib.core import Context
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.preparation import Plan
from MedDeepLib.training.dense.patches import CachedCase

from DetectModuleLib.targets import has_findings
from DetectModuleLib.worker.cases import turned_boxes
from DetectModuleLib.worker.sizes import all_sizes

_FEW_FINDINGS, _THIN = 20, 2.0


def advise(
    training: Sequence[CachedCase], dataset: Dataset, plan: Plan, largest: Sequence[float], context: Context
) -> None:
    """Report what is guessed, what is dropped and what is likely to fail; ``largest`` in voxels along each axis."""
    sizes = all_sizes(training)

    def tell(message: str, event: str = "warning") -> None:
        context.report(event, message=message)

    negative = sum(not has_findings(case) for case in dataset.training)
    if negative:
        cases = "case names no findings and counts" if negative == 1 else "cases name no findings and count"
        tell(f"{negative} of {len(dataset.training)} training {cases} as negative.", "message")
    if len(sizes) < _FEW_FINDINGS:
        tell(f"Only {len(sizes)} findings to learn from: more cases, or stronger augmentation, help to generalise.")
    turned = turned_boxes(training)
    if turned:
        tell(
            f"{turned} of {len(sizes)} boxes are turned against the image's axes by more than 5 degrees: the network "
            "sees the smallest box along the image's axes around each.",
            "message",
        )
    too_large = int((sizes > np.asarray(largest)).any(1).sum())
    if too_large:
        patch = " x ".join(map(str, plan.patch_size))
        tell(
            f"{too_large} of {len(sizes)} findings are larger than the patch of {patch} voxels and can hardly be "
            "found: enlarge patch_size, or choose a coarser spacing."
        )
    if plan.patch_size[2] > 1 and len(sizes) and float(np.median(sizes[:, 2])) < _THIN:
        tell(
            f"A typical finding covers {np.median(sizes[:, 2]):.1f} voxels along the slices' axis, which is too few to "
            "see its shape there: thinner slices, or a two-dimensional network, may find more.",
            "message",
        )
