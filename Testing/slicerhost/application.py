"""slicer.app of the stand-in: the headless application of MedDeepLib together with a Qt application."""

from __future__ import annotations

import tempfile
from pathlib import Path

import slicer
from MedDeepLib.scene.headless import HeadlessApplication
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal

from slicerhost.cpp import cpp_class
from slicerhost.layout_manager import qSlicerLayoutManager
from slicerhost.main_window import qSlicerMainWindow
from slicerhost.modules import qSlicerModuleManager
from slicerhost.subject_hierarchy import keep_items_in_step


@cpp_class
class qSlicerApplication(HeadlessApplication, QtWidgets.QApplication):
    """One per process. Settings live in a temporary folder that goes away with the process."""

    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)
    applicationName = "Slicer"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"
    CPP_SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self):
        QtWidgets.QApplication.__init__(self, ["Slicer"])
        self.setQuitOnLastWindowClosed(False)  # the main window keeps the application alive
        self._restart_count = 0
        self._testing = True
        self._folder = tempfile.TemporaryDirectory(prefix="slicerhost-", ignore_cleanup_errors=True)
        QtCore.QCoreApplication.setOrganizationName("slicerhost")
        QtCore.QCoreApplication.setApplicationName("Slicer")
        for scope in (QtCore.QSettings.UserScope, QtCore.QSettings.SystemScope):
            QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, scope, self._folder.name)
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        self._settings = QtCore.QSettings()
        self._module_manager = qSlicerModuleManager()

    def __setattr__(self, name: str, value) -> None:
        """Tests may replace a function of the application; a new attribute is refused, as elsewhere."""
        if callable(getattr(type(self), name, None)):
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def build_scene(self) -> None:
        super().build_scene()
        self._add_graphical_half()

    def take_over(self, running: HeadlessApplication) -> None:
        """Take over the scene and the logics of an application that was started without Qt before."""
        self.__dict__.update(vars(running))
        slicer.app = self
        self._add_graphical_half()

    def _add_graphical_half(self) -> None:
        keep_items_in_step(self._scene)
        self._layout_manager = qSlicerLayoutManager(self._application_logic, self._scene)
        self._main_window = qSlicerMainWindow()

    def testingEnabled(self) -> bool:
        """Whether message boxes are skipped, as in `Slicer --testing`; see `slicerhost.start`."""
        return self._testing

    def setTestingEnabled(self, enabled: bool) -> None:
        self._testing = bool(enabled)

    def processEvents(self, *arguments) -> None:
        QtWidgets.QApplication.processEvents(*arguments)

    def settings(self) -> QtCore.QSettings:
        return self._settings

    def userSettings(self) -> QtCore.QSettings:
        return self._settings

    def moduleManager(self) -> qSlicerModuleManager:
        return self._module_manager

    def layoutManager(self) -> qSlicerLayoutManager:
        return self._layout_manager

    def mainWindow(self) -> qSlicerMainWindow:
        return self._main_window

    def moduleDocumentationUrl(self, module_name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{module_name.lower()}.html"

    def restart(self) -> None:
        """Only counted: see `restartCount`."""
        self._restart_count += 1

    @property
    def restartCount(self) -> int:
        """How often the application was told to restart; belongs to the stand-in."""
        return self._restart_count

    @property
    def temporaryPath(self) -> str:
        return self._folder.name

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    @property
    def slicerHome(self) -> str:
        return str(Path(slicer.__file__).parent)
