"""The last model of a worker, kept in memory as long as jobs use the same one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from MedDeepLib.bundles.model import Model, open_model
from MedDeepLib.core import Context, Predictor, from_mapping
from MedDeepLib.jobs.job import Job

Load = Callable[[Job, Context], tuple[Predictor, Model]]


@dataclass(frozen=True)
class _Loaded:
    identity: tuple
    options: Any
    predictor: Predictor


class LastModel:
    """Loads the model of a job; the last one stays loaded, so that the next job with it starts at once.

    A model counts as the same while its folder, files, task and device are the same. Another model replaces it:
    there is never more than one in memory.
    """

    def __init__(self):
        self._loaded: _Loaded | None = None

    @property
    def device(self) -> str:
        """The device that holds the model; empty when no model is loaded."""
        return self._loaded.identity[-1] if self._loaded else ""

    def load(self, job: Job, context: Context) -> tuple[Predictor, Model]:
        """The predictor for a job that applies or evaluates a model.

        Raises UserError when the model is damaged, is for another task, or the options do not fit it.
        """
        model = open_model(job.model, job.task)
        method = model.make_method()
        options = from_mapping(method.ApplyParameters, job.parameters)
        identity = (job.task, str(model.folder), model.fingerprint(), str(context.device))
        predictor = self._predictor(identity, options)
        if predictor is None:
            context.report("phase", phase="Loading the model")
            self.forget()
            predictor = method.predictor(model, context, options)
        self._loaded = _Loaded(identity, options, predictor)
        return predictor, model

    def forget(self) -> None:
        """Unload the model and free its memory."""
        self._loaded = None
        free_device_memory()

    def _predictor(self, identity: tuple, options: Any) -> Predictor | None:
        if self._loaded is None or self._loaded.identity != identity:
            return None
        if self._loaded.options == options:
            return self._loaded.predictor
        return self._loaded.predictor.with_options(options)


def free_device_memory() -> None:
    """Release the GPU memory that torch caches; other programs may need it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
