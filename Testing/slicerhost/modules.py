"""Scripted modules: loading, entering, reloading and unloading them as qSlicerScriptedLoadableModule does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from slicerhost.cpp import add_property, cpp_class, string_list
from slicerhost.mrml_observing import qSlicerWidget


@cpp_class
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The widget a module gets as `parent`: holds the Python class and calls its life-cycle functions."""

    def __init__(self, module: qSlicerScriptedLoadableModule):
        super().__init__()
        self._module = module
        self._python_self = None
        self._entered = False
        QtWidgets.QVBoxLayout(self)

    def self(self) -> Any:
        """The instance of <Module>Widget."""
        return self._python_self

    def createPythonWidget(self) -> None:
        """Instantiate <Module>Widget from the module's current source and call its setup()."""
        name = self._module.name
        self._python_self = getattr(sys.modules[name], f"{name}Widget")(self)
        setattr(slicer.modules, f"{name}Widget", self._python_self)
        self._python_self.setup()

    def _call(self, function: str) -> None:
        if hasattr(self._python_self, function):
            getattr(self._python_self, function)()

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

    def reload(self) -> None:
        """The second half of slicer.util.reloadScriptedModule: a new widget in the same parent."""
        self.createPythonWidget()
        if self._entered:
            self._call("enter")

    isEntered = Property(bool, lambda self: self._entered)


@cpp_class
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """The object behind slicer.modules.<name>, which the <Module> class gets as `parent`."""

    def __init__(self, name: str, path: str):
        super().__init__()
        self._module_name = name
        self._path = path
        self._widget: qSlicerScriptedLoadableModuleWidget | None = None
        self._python_self = None

    name = Property(str, lambda self: self._module_name)
    path = Property(str, lambda self: self._path)

    def createPythonModule(self) -> None:
        self._python_self = getattr(sys.modules[self._module_name], self._module_name)(self)
        setattr(slicer.modules, f"{self._module_name}Instance", self._python_self)
        # The application announces this once all modules are there; some modules wait for it.
        setattr(slicer.modules, self._module_name.lower(), self)

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget | None:
        """The panel, made when it is asked for the first time; None if the module is hidden from the user."""
        if self._widget is None and hasattr(sys.modules[self._module_name], f"{self._module_name}Widget"):
            self._widget = qSlicerScriptedLoadableModuleWidget(self)
            self._widget.setWindowTitle(self.title or self._module_name)
            self._widget.setMRMLScene(slicer.mrmlScene)
            self._widget.createPythonWidget()
        return self._widget

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        widget = qSlicerScriptedLoadableModuleWidget(self)
        widget.setMRMLScene(slicer.mrmlScene)
        widget.createPythonWidget()
        return widget

    def logic(self):
        """A C++ module has its logic here; a scripted one has an instance in its widget instead."""
        return None

    def dispose(self) -> None:
        if self._widget is not None:
            self._widget.delete()
            self._widget = None


for _name in ("title", "helpText", "acknowledgementText", "defaultDocumentationLink"):
    add_property(qSlicerScriptedLoadableModule, str, _name, "")
for _name in ("categories", "dependencies", "contributors", "associatedNodeTypes"):
    add_property(qSlicerScriptedLoadableModule, "QStringList", _name, (), convert=string_list)
add_property(qSlicerScriptedLoadableModule, bool, "hidden", False)
add_property(qSlicerScriptedLoadableModule, bool, "widgetRepresentationCreationEnabled", True)
add_property(qSlicerScriptedLoadableModule, int, "index", -1)
add_property(qSlicerScriptedLoadableModule, QtGui.QIcon, "icon", None)


@cpp_class
class qSlicerModuleManager(QtCore.QObject):
    """The scripted modules that are loaded, and those of slicer-core by name."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)
    moduleUnloaded = Signal(str)
    modulesLoaded = Signal(list)

    def __init__(self):
        super().__init__()
        self._modules: dict[str, qSlicerScriptedLoadableModule] = {}

    def module(self, name: str):
        """A scripted module of this name, a module of slicer-core, or None."""
        if name in self._modules:
            return self._modules[name]
        found = getattr(slicer.modules, name.lower(), None) if name else None
        return found if getattr(found, "name", None) == name else None

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def factoryManager(self) -> qSlicerModuleManager:
        return self

    def loadedModuleNames(self) -> tuple[str, ...]:
        return self.modulesNames()

    def isLoaded(self, name: str) -> bool:
        return name in self._modules

    def load(self, path: Path) -> qSlicerScriptedLoadableModule:
        """Import the file and instantiate its module class; what the module raises is not caught."""
        if not path.is_file():
            raise FileNotFoundError(f"There is no scripted module {path}")
        name = path.stem
        if name in self._modules:
            self.unload(name)
        _import_source(name, path)
        module = qSlicerScriptedLoadableModule(name, str(path))
        self._modules[name] = module
        module.createPythonModule()
        self.moduleLoaded.emit(name)
        return module

    def unload(self, name: str) -> None:
        """Announce it (the widget then cleans up), delete the widget, forget the module."""
        module = self._modules[name]
        self.moduleAboutToBeUnloaded.emit(name)
        del self._modules[name]
        module.dispose()
        for attribute in (name.lower(), f"{name}Widget", f"{name}Instance"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)
        sys.modules.pop(name, None)
        getattr(slicer, "selfTests", {}).pop(name, None)
        self.moduleUnloaded.emit(name)


def _import_source(name: str, path: Path) -> None:
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    try:
        spec.loader.exec_module(source)
    except BaseException:
        del sys.modules[name]
        raise
