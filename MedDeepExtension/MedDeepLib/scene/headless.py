"""Slicer without a window: a scene, its module logics and file IO from the ``slicer-core`` package.

Inside the 3D Slicer application :func:`start` does nothing but return ``slicer.app``. Under a bare Python it
builds, once per process, what the application builds at start-up: the MRML scene, the application logic, the
logics of the modules that batch scripts and tests use, colour tables, terminologies and the file readers and
writers. From then on ``slicer.mrmlScene``, ``slicer.app``, ``slicer.modules.*.logic()`` and the load and
save functions of ``slicer.util`` work as they do in the application.
"""

from __future__ import annotations

import atexit
import importlib
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from MedDeepLib.errors import UserError

SHARE_DIRECTORY = Path(__file__).resolve().parent / "share"

# Module name in slicer.modules -> the class of its logic.
MODULE_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}

# Module names under which Slicer's own Python code imports the kits -> their names in the slicer-core wheel.
APPLICATION_KITS = {
    "MRMLCorePython": "MRMLCore",
    "MRMLLogicPython": "MRMLLogic",
    "vtkSegmentationCorePython": "vtkSegmentationCore",
    "vtkITK": "vtkITK",
    "vtkAddon": "vtkAddonPython",
}


class Module:
    """Stands in for ``slicer.modules.<name>`` without a graphical interface: a name and the module's logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self.path = ""
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


class HeadlessApplication:
    """The part of ``slicer.app`` that needs no Qt.

    A subclass may add a graphical half (for instance by inheriting from ``QApplication`` as well); it must
    leave scene building to :meth:`build_scene`, which :func:`start` calls once after construction.
    """

    applicationName = "HeadlessSlicer"
    majorVersion = 5
    minorVersion = 13
    revision = "31053"
    temporaryPath = tempfile.gettempdir()

    def build_scene(self) -> None:
        """Make the scene, the application logic, the module logics and the IO manager, and publish them."""
        slicer = _slicer()

        from MedDeepLib.scene.io_manager import IOManager

        self._scene = slicer.vtkMRMLScene()
        self._application_logic = slicer.vtkSlicerApplicationLogic()
        slicer.app = self
        slicer.mrmlScene = self._scene
        self._io_manager = IOManager()
        self._add_crosshair()
        self._connect_application_logic()
        self._connect_data_io()
        self._add_module_logics()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene, True)
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _add_crosshair(self) -> None:
        import slicer

        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self._scene.AddNode(crosshair)

    def _connect_application_logic(self) -> None:
        import vtk

        logic = self._application_logic
        logic.SetHomeDirectory(str(SHARE_DIRECTORY.parent))
        logic.SetShareDirectory(SHARE_DIRECTORY.name)  # relative to the home directory
        logic.SetTemporaryPath(self.temporaryPath)
        logic.SetMRMLScene(self._scene)
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())

    def _connect_data_io(self) -> None:
        """Connect the remote IO logic: scene bundles (.mrb) are unpacked into its cache folder."""
        import slicer

        cache_directory = tempfile.mkdtemp(prefix="slicer-cache-")
        atexit.register(shutil.rmtree, cache_directory, ignore_errors=True)
        self._remote_io_logic = slicer.vtkMRMLRemoteIOLogic()
        self._remote_io_logic.SetMRMLApplicationLogic(self._application_logic)
        self._remote_io_logic.SetMRMLScene(self._scene)
        self._remote_io_logic.GetCacheManager().SetRemoteCacheDirectory(cache_directory)
        self._data_io_logic = slicer.vtkDataIOManagerLogic()
        self._data_io_logic.SetMRMLApplicationLogic(self._application_logic)
        self._data_io_logic.SetMRMLScene(self._scene)
        self._data_io_logic.SetAndObserveDataIOManager(self._remote_io_logic.GetDataIOManager())
        self._remote_io_logic.AddDataIOToScene()

    def _add_module_logics(self) -> None:
        slicer = _slicer()

        modules = types.ModuleType("slicer.modules")
        sys.modules["slicer.modules"] = modules
        slicer.modules = modules
        for name, class_name in MODULE_LOGICS.items():
            logic = getattr(slicer, class_name)()
            if hasattr(logic, "SetModuleShareDirectory"):
                logic.SetModuleShareDirectory(str(SHARE_DIRECTORY / name.lower()))
            logic.SetMRMLApplicationLogic(self._application_logic)  # must come before the scene
            if name == "Colors":
                self._application_logic.SetColorLogic(logic)
            logic.SetMRMLScene(self._scene)
            self._application_logic.SetModuleLogic(name, logic)
            setattr(modules, name.lower(), Module(name, logic))

    def applicationLogic(self) -> Any:
        return self._application_logic

    def mrmlScene(self) -> Any:
        return self._scene

    def coreIOManager(self) -> Any:
        return self._io_manager

    def ioManager(self) -> Any:
        return self._io_manager

    def testingEnabled(self) -> bool:
        """True: message boxes are skipped, as in ``Slicer --testing``, because nobody could answer them."""
        return True

    def translate(self, context: str, text: str) -> str:
        return text

    def processEvents(self, *arguments: Any) -> None:
        """There is no event loop, so there is nothing to process."""

    def pauseRender(self) -> None:
        """Off-screen views render only when asked to."""

    def resumeRender(self) -> None:
        """Off-screen views render only when asked to."""


def start(application_class: type[HeadlessApplication] = HeadlessApplication) -> Any:
    """Return the running application, starting a headless one the first time.

    In the 3D Slicer application, and whenever one has been started before, the existing ``slicer.app`` is
    returned and ``application_class`` is not used.

    Raises:
        UserError: there is neither 3D Slicer nor the ``slicer-core`` package.
    """
    try:
        import slicer
        import slicer.util
    except ImportError as error:
        raise UserError(
            "This needs 3D Slicer's scene: run it with Slicer's own Python or install slicer-core "
            "(pip install slicer-core)."
        ) from error
    if getattr(slicer, "app", None) is not None:
        return slicer.app
    _publish_application_kits()
    application = application_class()
    application.build_scene()
    return application


def _slicer() -> Any:
    """The module ``slicer`` that is filled here; other modules import it."""
    return importlib.import_module("slicer")


def _publish_application_kits() -> None:
    for name, wheel_name in APPLICATION_KITS.items():
        sys.modules.setdefault(name, importlib.import_module(f"slicer_core.{wheel_name}"))
