"""Stand-in of slicer.ScriptedLoadableModule: the base classes of a scripted module.

Written from the behaviour of Slicer 5.13; screenshots of tests and the source editor are left out.
"""

from __future__ import annotations

import importlib
import logging
import unittest
from pathlib import Path

import ctk
import qt
import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    """What Slicer's module list knows: title, categories, help, icon, and the test to run."""

    def __init__(self, parent):
        super().__init__()
        self.parent = parent
        self.moduleName = self.__class__.__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = ["The authors"]
        parent.helpText = "There is no help text for this module yet."
        parent.acknowledgementText = ""
        for extension in (".svg", ".png"):
            icon = Path(self.resourcePath(f"Icons/{self.moduleName}{extension}"))
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        url = (
            slicer.app.documentationBaseUrl + docPage
            if docPage
            else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **arguments) -> None:
        """Run <Module>Test of the module's source; a missing class is a failure."""
        source = importlib.import_module(self.__module__)
        class_name = f"{self.moduleName}Test"
        if not hasattr(source, class_name):
            raise AssertionError(f"Test case class not found: {self.__module__}.{class_name}")
        test_case = getattr(source, class_name)()
        test_case.messageDelay = msec
        test_case.runTest(**arguments)


class ScriptedLoadableModuleWidget:
    """The panel of a module. Without `parent` it makes a window of its own and shows it."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = self.__class__.__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect(
            "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
        )

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def cleanup(self) -> None:
        """For subclasses: called just before the module is unloaded or reloaded."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect(
                "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
            )

    def setup(self) -> None:
        self.setupDeveloperSection()

    def setupDeveloperSection(self) -> None:
        """Buttons for reload, test and restart, in developer mode only."""
        if not self.developerMode:
            return
        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton()
        self.reloadCollapsibleButton.text = "Reload && Test"
        self.layout.addWidget(self.reloadCollapsibleButton)
        row = qt.QHBoxLayout(self.reloadCollapsibleButton)
        self.reloadButton = self._developerButton("Reload", self.onReload)
        self.reloadTestButton = self._developerButton("Reload and Test", self.onReloadAndTest)
        self.restartButton = self._developerButton("Restart Slicer", slicer.app.restart)
        for button in (self.reloadButton, self.reloadTestButton, self.restartButton):
            row.addWidget(button)

    def _developerButton(self, text: str, function) -> qt.QPushButton:
        button = qt.QPushButton(text)
        button.name = f"ScriptedLoadableModuleTemplate {text}"
        button.connect("clicked()", function)
        return button

    def onReload(self) -> None:
        logging.info("Reloading module: %s", self.moduleName)
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **arguments) -> None:
        with slicer.util.tryWithErrorDisplay("Test failed."):
            delay = slicer.app.userSettings().value("Developer/SelfTestDisplayMessageDelay", 0)
            slicer.selfTests[self.moduleName](msec=int(delay), **arguments)

    def onReloadAndTest(self, **arguments) -> None:
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            self.onTest(**arguments)


class ScriptedLoadableModuleLogic:
    """The logic of a module and its parameter node in the scene."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = self.__class__.__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        """The module's parameter node, made at the first call."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                # Closing the scene may have taken the attribute away.
                if node.GetAttribute("ModuleName") != self.moduleName:
                    node.SetAttribute("ModuleName", self.moduleName)
                return node
        else:
            existing = self.getAllParameterNodes()
            if existing:
                return existing[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        """A new parameter node that is not in the scene yet. Subclasses set their defaults here."""
        if slicer.mrmlScene is None:
            return None
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # the Python variable owns it now
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the <Module>Test classes."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Log the message and let the event loop catch up; shows a window if the delay is 400 ms or more."""
        delay = getattr(self, "messageDelay", None)
        for candidate in (msec, requestedDelay, 100):
            delay = candidate if delay is None else delay
        slicer.util.delayDisplay(message, delay)

    def runTest(self) -> None:
        logging.warning("No test is defined in %s", self.__class__.__name__)
