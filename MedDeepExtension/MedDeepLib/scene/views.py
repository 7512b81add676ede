"""Slice and 3D views rendered off-screen by Slicer's own displayable managers, for reports and tests.

No display server is needed: on Linux VTK draws through EGL in software or on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from MedDeepLib.scene.offscreen import OffscreenView

SLICE_MANAGERS = (
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
)
DEFAULT_SIZE = (400, 400)


class SliceView(OffscreenView):
    """A slice through volumes, segmentations, models and markups.

    Args:
        name: of the slice node; views with one name share it.
        orientation: Axial, Sagittal or Coronal.
        size: width and height in pixels.
    """

    def __init__(self, name: str = "Red", orientation: str = "Axial", size: tuple[int, int] = DEFAULT_SIZE) -> None:
        import slicer

        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS, size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._add_overlay_layer()
        self._add_image_actor()
        self.managers.Initialize(self.factory, self.renderer)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(self.application.applicationLogic())
        self.application.applicationLogic().GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(self.application.mrmlScene())
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.logic.ResizeSliceNode(*size)

    def _add_overlay_layer(self) -> None:
        """Markups draw into a second layer, above the image."""
        import vtk

        self.overlay = vtk.vtkRenderer()
        self.overlay.SetLayer(1)
        self.window.SetNumberOfLayers(2)
        self.window.AddRenderer(self.overlay)
        self.window.SetAlphaBitPlanes(True)

    def _add_image_actor(self) -> None:
        """The blended slice image comes from the slice logic as colours from 0 to 255."""
        import vtk

        self.image_mapper = vtk.vtkImageMapper()
        self.image_mapper.SetColorWindow(255)
        self.image_mapper.SetColorLevel(127.5)
        self.image_actor = vtk.vtkActor2D()
        self.image_actor.SetMapper(self.image_mapper)
        self.image_actor.GetProperty().SetDisplayLocationToBackground()
        self.image_actor.VisibilityOff()
        self.renderer.AddViewProp(self.image_actor)

    def show(self, volume: Any, center: Sequence[float] | None = None, millimetres: float | None = None) -> None:
        """Show a volume, filled into the view.

        Args:
            center: RAS point that the slice passes through, at the centre of the view.
            millimetres: width of the field of view; by default the whole volume.
        """
        composite = self.logic.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(volume.GetID())
        self.logic.ResizeSliceNode(*self.size)
        self.logic.FitSliceToBackground()
        if center is not None:
            self.node.JumpSliceByCentering(*[float(value) for value in center])
        if millimetres is not None:
            width, height, depth = self.node.GetFieldOfView()
            self.node.SetFieldOfView(millimetres, millimetres * height / width, depth)

    def render(self) -> None:
        connection = self.logic.GetImageDataConnection()
        self.image_mapper.SetInputConnection(connection)
        self.image_actor.SetVisibility(connection is not None)
        super().render()

    def nodes(self) -> list[Any]:
        composite = self.logic.GetSliceCompositeNode()
        displays = [self.logic.GetSliceDisplayNode(), self.logic.GetSliceModelNode()]
        return [node for node in (composite, *displays, self.node) if node is not None]

    def close(self) -> None:
        self.application.applicationLogic().GetSliceLogics().RemoveItem(self.logic)
        super().close()


class ThreeDView(OffscreenView):
    """A 3D view of surfaces, volume renderings and markups."""

    def __init__(self, name: str = "View1", size: tuple[int, int] = DEFAULT_SIZE) -> None:
        import slicer

        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, THREE_D_MANAGERS, size)
        self.managers.Initialize(self.factory, self.renderer)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(self.application.applicationLogic())
        self.application.applicationLogic().GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(self.application.mrmlScene())
        self.node = self.logic.AddViewNode(name)
        self.managers.SetMRMLDisplayableNode(self.node)

    def fit(self, direction: Sequence[float] = (0.5, 1.0, 0.4)) -> None:
        """Fit the camera to everything visible; ``direction`` points from there to the camera, in RAS."""
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.render()
        bounds = self.renderer.ComputeVisiblePropBounds()
        center = np.array([bounds[0] + bounds[1], bounds[2] + bounds[3], bounds[4] + bounds[5]]) / 2
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(*center)
        camera.SetPosition(*(center + np.asarray(direction, float)))
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCamera(bounds)
        self.renderer.ResetCameraClippingRange()

    def nodes(self) -> list[Any]:
        return [self.node]

    def close(self) -> None:
        self.application.applicationLogic().GetViewLogics().RemoveItem(self.logic)
        super().close()
