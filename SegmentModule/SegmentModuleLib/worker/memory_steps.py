"""The out-of-memory ladder for bundles from elsewhere; each step is reported.

The bundle's own inferer is kept: fewer windows at a time, then sums in main memory, then, if the user allows it,
the CPU. None of these changes the result.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from MedDeepLib.bundles.foreign.workflow import Workflow
from MedDeepLib.core import Context
from MedDeepLib.data.sources.image import Image
from MedDeepLib.devices.memory import is_out_of_memory, make_room
from MedDeepLib.errors import OutOfMemory


def predict_within_memory(
    workflow: Workflow, image: Image, context: Context, progress: Callable[[int, int], None], allow_cpu: bool
) -> torch.Tensor:
    """Like :meth:`Workflow.predict`, but with less memory when there is not enough.

    Raises OutOfMemory when no step is left, Stopped when the user asked to stop.
    """
    report = lambda sentence: context.report("message", message=sentence)  # noqa: E731
    while True:
        try:
            return workflow.predict(image, report, progress, context.stop_requested)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        make_room(context.device)
        step = workflow.use_less_memory(allow_cpu)
        if not step:
            raise OutOfMemory(
                f"There was not enough memory on the device {context.device} for this bundle: close other programs "
                "that use it, choose the device cpu, or allow the CPU with the option allow_cpu."
            )
        context.report("warning", message=f"There was not enough memory: {step}.")
