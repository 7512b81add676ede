"""What a method is: its description, its typed parameters, and where methods are found."""

from MedDeepLib.methods.context import Context
from MedDeepLib.methods.explanation import Explanation
from MedDeepLib.methods.item import ApplyItem
from MedDeepLib.methods.method import Method, Prediction, Predictor
from MedDeepLib.methods.parameters import describe, from_mapping, parameter, settings_that_matter, to_mapping
from MedDeepLib.methods.registry import get, methods, tasks

__all__ = [
    "ApplyItem",
    "Context",
    "Explanation",
    "Method",
    "Prediction",
    "Predictor",
    "describe",
    "from_mapping",
    "get",
    "methods",
    "parameter",
    "settings_that_matter",
    "tasks",
    "to_mapping",
]
