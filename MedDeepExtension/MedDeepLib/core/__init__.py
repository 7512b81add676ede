"""What a method is: its description, its typed parameters, and where methods are found."""

from MedDeepLib.core.context import Context
from MedDeepLib.core.explanation import Explanation
from MedDeepLib.core.item import ApplyItem
from MedDeepLib.core.method import Method, Prediction, Predictor, Prepared
from MedDeepLib.core.parameters import describe, from_mapping, parameter, settings_that_matter, to_mapping
from MedDeepLib.core.registry import get, methods, tasks

__all__ = [
    "ApplyItem",
    "Context",
    "Explanation",
    "Method",
    "Prediction",
    "Predictor",
    "Prepared",
    "describe",
    "from_mapping",
    "get",
    "methods",
    "parameter",
    "settings_that_matter",
    "tasks",
    "to_mapping",
]
