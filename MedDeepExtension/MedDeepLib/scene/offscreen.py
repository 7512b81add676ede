"""Render windows without a screen, in which Slicer's displayable managers draw."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MedDeepLib.data.files import atomic_path
from MedDeepLib.errors import UserError
from MedDeepLib.scene import headless

EGL_WINDOW = "vtkEGLRenderWindow"


def check_rendering() -> None:
    """Choose how VTK draws without a display, before its first window is made.

    Raises:
        UserError: the system lacks the library for it; names the packages to install.
    """
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", EGL_WINDOW)
    if os.environ["VTK_DEFAULT_OPENGL_WINDOW"] == EGL_WINDOW and ctypes.util.find_library("EGL") is None:
        raise UserError(
            "Pictures cannot be rendered without a display because the EGL library is missing; install it, on "
            "Debian and Ubuntu with: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri."
        )


class OffscreenView:
    """A render window without a screen, in which displayable managers draw a view node of the scene."""

    def __init__(self, factory_class: Any, managers: Sequence[str], size: tuple[int, int]) -> None:
        import slicer
        import vtk

        check_rendering()
        self.application = headless.start()
        self.size = size
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.ShowWindowOff()
        self.window.SetMultiSamples(0)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        # The displayable managers need an interactor; setting it up resets the size, so that comes last.
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.EnableRenderOff()
        self.interactor.Initialize()
        self.interactor.SetSize(*size)
        self.window.SetSize(*size)
        self.factory = factory_class.GetInstance()
        self.factory.SetMRMLApplicationLogic(self.application.applicationLogic())
        for manager in managers:
            if not self.factory.IsDisplayableManagerRegistered(manager):
                self.factory.RegisterDisplayableManager(manager)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)

    def render(self) -> None:
        self.window.Render()

    def pixels(self) -> np.ndarray:
        """What the view shows: uint8 (height, width, 3), first row on top."""
        import vtk
        from vtk.util.numpy_support import vtk_to_numpy

        self.render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        rows = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
        return rows[::-1, :, :3].copy()

    def save_png(self, path: str | Path) -> None:
        save_png(self.pixels(), path)

    def close(self) -> None:
        """Remove the view from the scene and free its graphics memory."""
        self.managers.SetMRMLDisplayableNode(None)
        self.window.Finalize()
        for node in self.nodes():
            self.application.mrmlScene().RemoveNode(node)

    def nodes(self) -> list[Any]:
        """The nodes that the view has added to the scene."""
        return []


def save_png(pixels: np.ndarray, path: str | Path) -> None:
    """Write uint8 pixels (height, width, 3), first row on top, as a PNG file, completely or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    height, width, channels = pixels.shape
    image = vtk.vtkImageData()
    image.SetDimensions(width, height, 1)
    scalars = numpy_to_vtk(np.ascontiguousarray(pixels[::-1]).reshape(-1, channels), deep=True)
    image.GetPointData().SetScalars(scalars)
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    with atomic_path(path, ".png") as temporary:
        writer.SetFileName(str(temporary))
        writer.Write()
        if writer.GetErrorCode() or not temporary.exists():
            raise OSError("the picture could not be written")
