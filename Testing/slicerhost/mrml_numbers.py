"""Stand-ins of the Slicer widgets that add units to the CTK widgets for numbers."""

from __future__ import annotations

from slicerhost.cpp import add_property, cpp_class
from slicerhost.ctk_numbers import ctkDoubleSpinBox, ctkSliderWidget
from slicerhost.ctk_ranges import ctkRangeWidget


class _KeepsScene:
    """These widgets take a scene for its units, which are not imitated."""

    def setMRMLScene(self, scene) -> None:
        self._scene = scene

    def mrmlScene(self):
        return self.__dict__.get("_scene")


@cpp_class
class qMRMLSliderWidget(ctkSliderWidget, _KeepsScene):
    """ctkSliderWidget with a quantity."""


@cpp_class
class qMRMLSpinBox(ctkDoubleSpinBox, _KeepsScene):
    """ctkDoubleSpinBox with a quantity."""


@cpp_class
class qMRMLRangeWidget(ctkRangeWidget, _KeepsScene):
    """ctkRangeWidget with a quantity."""


for _class in (qMRMLSliderWidget, qMRMLSpinBox, qMRMLRangeWidget):
    add_property(_class, str, "quantity", "")
    add_property(_class, int, "unitAwareProperties", 0)
