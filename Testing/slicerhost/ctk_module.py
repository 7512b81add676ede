"""The `ctk` module of Slicer, made of the stand-ins in this package."""

from __future__ import annotations

import sys
import types

from slicerhost import ctk_buttons, ctk_inputs, ctk_numbers, ctk_ranges


def make_ctk_module() -> types.ModuleType:
    """Register `ctk` in sys.modules."""
    ctk = types.ModuleType("ctk", __doc__)
    for source in (ctk_buttons, ctk_inputs, ctk_numbers, ctk_ranges):
        for name, value in vars(source).items():
            if name.startswith("ctk"):
                setattr(ctk, name, value)
    sys.modules["ctk"] = ctk
    return ctk
