"""Start the stand-in and drive it from a test."""

from __future__ import annotations

import importlib
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

SCENE_MODULES = (
    "checkable_node_combo_box",
    "mrml_numbers",
    "mrml_observing",
    "mrml_plots",
    "segments_table",
    "modules",
    "node_combo_box",
    "subject_hierarchy",
    "table_view",
)
# Modules of Slicer's Python package that slicer-core lacks -> their place in this package.
SLICER_PYTHON_MODULES = {
    "slicer.ScriptedLoadableModule": "slicerhost.scripted_loadable_module",
    "slicer.testing": "slicerhost.testing",
    "slicer.i18n": "slicerhost.i18n",
    "slicer.packaging": "slicerhost.packaging",
    "slicer.parameterNodeWrapper": "slicerhost.parameter_node_wrapper",
}
# PythonQt also puts each library's widgets into a module of its own; slicer's code imports from this one.
WIDGET_LIBRARY = "qSlicerSubjectHierarchyModuleWidgetsPythonQt"
PANEL_WIDTH = 460  # pixels; about what Slicer's module panel has


def start(testing: bool = True):
    """Start the application, once per process, and return it (slicer.app).

    Afterwards `qt`, `ctk`, `slicer` with its widgets, `slicer.parameterNodeWrapper`,
    `slicer.ScriptedLoadableModule`, `slicer.i18n`, `slicer.packaging` and `slicer.testing` can be imported as
    in Slicer. A headless application of MedDeepLib.scene that runs already is taken over with its scene. A
    later call only sets whether the application is in testing mode.
    """
    import slicer

    if not hasattr(getattr(slicer, "app", None), "setTestingEnabled"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        if sys.platform == "linux":
            os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        _start_application()
    slicer.app.setTestingEnabled(testing)
    return slicer.app


def _start_application() -> None:
    from slicerhost.ctk_module import make_ctk_module
    from slicerhost.qt_module import make_qt_module

    make_qt_module()
    make_ctk_module()
    _publish_widgets()

    import slicer
    from MedDeepLib.scene import headless

    from slicerhost.application import qSlicerApplication

    if getattr(slicer, "app", None) is None:
        headless.start(qSlicerApplication)
    else:
        without_qt = slicer.app
        qSlicerApplication().take_over(without_qt)
    _publish_python_modules()
    slicer.app.startupCompleted.emit()


def _publish_widgets() -> None:
    import slicer

    library = types.ModuleType(WIDGET_LIBRARY)
    for module_name in SCENE_MODULES:
        module = importlib.import_module(f"slicerhost.{module_name}")
        for name, value in vars(module).items():
            if name.startswith(("qMRML", "qSlicer")):
                setattr(slicer, name, value)
                setattr(library, name, value)
    sys.modules[WIDGET_LIBRARY] = library


def _publish_python_modules() -> None:
    import slicer

    for name, source in SLICER_PYTHON_MODULES.items():
        module = importlib.import_module(source)
        sys.modules[name] = module
        setattr(slicer, name.removeprefix("slicer."), module)


def load_module(path: str | Path):
    """Load a scripted module from its .py file, select it (which enters it) and return its <Module>Widget.

    Loading a module that is loaded already unloads it first.
    """
    application = start_if_needed()
    module = application.moduleManager().load(Path(path).resolve())
    if module.widgetRepresentation() is None:
        return None
    application.mainWindow().moduleSelector().selectModule(module.name)
    return module.widgetRepresentation().self()


def start_if_needed():
    """The running application, started in testing mode if there is none."""
    import slicer

    running = getattr(slicer, "app", None)
    return running if hasattr(running, "setTestingEnabled") else start()


def unload_module(module) -> None:
    """Unload a module, given its name, its file or its widget; its cleanup() runs."""
    import slicer

    if isinstance(module, Path) or (isinstance(module, str) and module.endswith(".py")):
        name = Path(module).stem
    else:
        name = module if isinstance(module, str) else module.moduleName
    slicer.app.moduleManager().unload(name)
    process_events()


def unload_all_modules() -> None:
    """Unload every scripted module that `load_module` loaded."""
    import slicer

    for name in slicer.app.moduleManager().modulesNames():
        unload_module(name)


def process_events(seconds: float = 0.0, until: Callable[[], bool] | None = None) -> bool:
    """Let the event loop run.

    Args:
        seconds: for how long; with `until`, at most for how long.
        until: stop as soon as this returns true.

    Returns:
        Whether `until` became true (True without it).
    """
    import slicer

    end = time.monotonic() + seconds
    while True:
        slicer.app.processEvents()
        _delete_what_was_left_for_later()
        if until is not None and until():
            return True
        if time.monotonic() >= end:
            return until is None
        time.sleep(0.005)


def _delete_what_was_left_for_later() -> None:
    """Delete objects as the application does when control returns to its main event loop."""
    from PySide6 import QtCore

    from slicerhost import dialogs

    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
    dialogs.delete_finished_dialogs()


def quit_application() -> None:
    """Emit aboutToQuit() as the end of the application does; the stand-in stays usable."""
    import slicer
    from PySide6 import QtCore

    QtCore.QTimer.singleShot(0, slicer.app.quit)
    slicer.app.exec_()


def is_quitting() -> bool:
    """Whether Qt was told to quit while no event loop was running: dialogs would then close as soon as they open."""
    from PySide6 import QtCore

    loop = QtCore.QEventLoop()
    QtCore.QTimer.singleShot(0, loop.quit)
    return loop.exec() == -1


def screenshot(widget, path: str | Path, size: tuple[int, int] | None = None) -> Path:
    """Save a picture of a widget (or of the panel of a <Module>Widget) as PNG. Shows the widget if necessary.

    Args:
        size: width and height in pixels; else as wide as it wants, at least PANEL_WIDTH, and as high.
    """
    import slicer
    from PySide6 import QtWidgets

    target = widget if isinstance(widget, QtWidgets.QWidget) else widget.parent
    target.window().show()
    target.show()
    slicer.app.processEvents()
    wanted = target.sizeHint()
    width, height = size or (max(wanted.width(), PANEL_WIDTH), max(wanted.height(), 40))
    if size is None and target.layout() is not None and target.layout().hasHeightForWidth():
        height = max(height, target.layout().totalHeightForWidth(width))  # room for texts of several lines
    previous_minimum = target.minimumSize
    target.setMinimumSize(width, height)  # a panel in the main window could not be made larger otherwise
    target.resize(width, height)
    slicer.app.processEvents()
    picture = target.grab()
    target.setMinimumSize(previous_minimum)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not picture.save(str(path), "PNG"):
        raise OSError(f"The picture could not be written to {path}")
    return path


def forget_settings() -> None:
    """Reset the application's settings to those of the first start."""
    import slicer

    slicer.app.settings().clear()


def close_scene() -> None:
    """Empty the scene as File > Close scene does, and let everything react to it."""
    import slicer

    slicer.mrmlScene.Clear(False)
    process_events()
