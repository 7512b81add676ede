"""A stage that computes arrays in one go: whatever is fitted rather than trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from MedDeepLib.core import Context


class FitStage:
    """Fits something whose result is arrays: a PCA, a support vector machine, a hidden Markov model, an atlas.

        def fit(context):
            svc = sklearn.svm.SVC().fit(features, answers)
            return {"support": torch.from_numpy(svc.support_vectors_), "dual": torch.from_numpy(svc.dual_coef_)}

        yield (svm := FitStage("svm", fit))
        decide(svm.arrays, ...)                         # a later stage, or work after the yield
        model.load_weights()["svm"]["support"]          # the predictor

    Arrays instead of pickled objects: a model is data that any version of any library can read and that cannot contain
    code. The arrays are saved with the model under the stage's name and restored on resuming. Fitting itself starts
    again when it is interrupted; where it takes longer than a minute, ask ``context.stop_requested()`` now and then,
    which also sends the job's heartbeat, and raise ``Stopped``.

    Of several processes that train together, one fits and sends the result to the others.

    Attributes:
        name: unique within the method; shown to the user.
        fit: ``fit(context)`` returns tensors by name, of any dtype and shape.
    """

    def __init__(self, name: str, fit: Callable[[Context], dict[str, torch.Tensor]]):
        self.name, self.fit = name, fit
        self._arrays: dict[str, torch.Tensor] | None = None

    @property
    def arrays(self) -> dict[str, torch.Tensor]:
        """What was fitted, on the CPU. Raises RuntimeError before the stage has run."""
        if self._arrays is None:
            raise RuntimeError(f"stage '{self.name}' has not run yet: yield it before its arrays are used")
        return self._arrays

    @arrays.setter
    def arrays(self, value: dict[str, torch.Tensor]) -> None:
        self._arrays = value


def checked_tensors(content: Any, what: str) -> dict[str, torch.Tensor]:
    """``content`` as tensors on the CPU with memory of their own. Raises TypeError unless it is tensors by name."""
    if not isinstance(content, dict):
        raise TypeError(f"{what} must be tensors by name, not {type(content).__name__}")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, torch.Tensor)):
            raise TypeError(f"{what} must be tensors by name, but {name!r} is {type(value).__name__}")
    return {name: value.detach().cpu().clone() for name, value in content.items()}
