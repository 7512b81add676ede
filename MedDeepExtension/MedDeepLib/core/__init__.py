"""Tasks and methods: their declarations, their typed parameters, and the registry."""

from MedDeepLib.core.backends import backend_parameter
from MedDeepLib.core.context import Context
from MedDeepLib.core.explanation import Explanation
from MedDeepLib.core.item import ApplyItem
from MedDeepLib.core.method import Method, NoParameters, Prediction, Predictor, Prepared
from MedDeepLib.core.model import TrainedModel
from MedDeepLib.core.parameters import (
    describe,
    from_mapping,
    parameter,
    settings_that_matter,
    to_mapping,
    with_defaults,
)
from MedDeepLib.core.registry import get, methods, tasks
from MedDeepLib.core.task import Evaluation, Metric, Task

__all__ = [
    "ApplyItem",
    "Context",
    "Evaluation",
    "Explanation",
    "Method",
    "Metric",
    "NoParameters",
    "Prediction",
    "Predictor",
    "Prepared",
    "Task",
    "TrainedModel",
    "backend_parameter",
    "describe",
    "from_mapping",
    "get",
    "methods",
    "parameter",
    "settings_that_matter",
    "tasks",
    "to_mapping",
    "with_defaults",
]
