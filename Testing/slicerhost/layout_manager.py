"""The part of slicer.app.layoutManager() that needs no views: the layout number and the slice logics.

Slice nodes, composite nodes and the propagation of a selected volume into them are Slicer's own; nothing is
rendered.
"""

from __future__ import annotations

import slicer
from PySide6 import QtCore
from PySide6.QtCore import Property, Signal

from slicerhost.cpp import cpp_class

SLICE_ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
SLICE_VIEW_SIZE = (256, 256)


class SliceView:
    """What sliceWidget(name) gives: the logic and the nodes of one slice view."""

    def __init__(self, logic):
        self._logic = logic

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()


@cpp_class
class qSlicerLayoutManager(QtCore.QObject):
    """Layout number, slice views by name; there are no 3D, table or plot widgets (their counts are 0)."""

    layoutChanged = Signal(int)
    threeDViewCount = tableViewCount = plotViewCount = 0

    def __init__(self, application_logic, scene):
        super().__init__()
        self._application_logic = application_logic
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLApplicationLogic(application_logic)
        self._layout_logic.SetMRMLScene(scene)
        self._slices: dict[str, SliceView] = {}
        for name, orientation in SLICE_ORIENTATIONS.items():
            self._slices[name] = self._make_slice(name, orientation, scene)
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def _make_slice(self, name: str, orientation: str, scene) -> SliceView:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._application_logic)
        self._application_logic.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(scene)
        existing = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if existing is not None:
            logic.SetSliceNode(existing)
        else:
            logic.AddSliceNode(name)
        logic.GetSliceNode().SetOrientation(orientation)
        logic.ResizeSliceNode(*SLICE_VIEW_SIZE)
        return SliceView(logic)

    def _layout_node(self):
        return self._layout_logic.GetLayoutNode()

    def setLayout(self, layout: int) -> None:
        changed = layout != self._layout_node().GetViewArrangement()
        self._layout_node().SetViewArrangement(layout)
        if changed:
            self.layoutChanged.emit(layout)

    layout = Property(int, lambda self: self._layout_node().GetViewArrangement(), setLayout)

    def layoutLogic(self):
        return self._layout_logic

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> SliceView | None:
        return self._slices.get(name)

    def mrmlSliceLogics(self):
        return self._application_logic.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for view in self._slices.values():
            view.sliceLogic().FitSliceToBackground()
            view.sliceLogic().SnapSliceOffsetToIJK()

    def resetThreeDViews(self) -> None:
        """There are no 3D views."""
