"""A stand-in for the 3D Slicer application: tests open, click and photograph module panels with it.

    app = slicerhost.start()
    widget = slicerhost.load_module("SegmentModule/SegmentModule.py")
    widget.ui.applyButton.click()
    slicerhost.process_events(10, until=lambda: widget.ui.status.text == "Done")
    slicerhost.screenshot(widget, "panel.png")

What is real: the MRML scene, all module logics, file IO and slicer.util, from the slicer-core package, and
Qt, from PySide6.

What is imitated here:

- PythonQt: properties as attributes, `connect('signal(types)', f)`, cutting of arguments, `name`,
  `className()`, `delete()`, `exec_()`, children as attributes. It is strict: a new attribute on a C++ object,
  a read-only property, an unknown or mis-typed signal and the call of a property are errors.
- `qt` (with QUiLoader), `ctk` and the qMRML widgets that have a stand-in; any other is an error when a form
  names it.
- slicer.app: settings (in a temporary file), module manager, main window, layout number, slice logics; the
  items of the subject hierarchy for data nodes; slicer.ScriptedLoadableModule, slicer.testing,
  slicer.parameterNodeWrapper, slicer.i18n and slicer.packaging.
- Modal dialogs need an answer prepared with `answers(...)`; without one they raise UnexpectedDialogError
  instead of waiting forever.

What is not imitated:

- Views: there are slice logics and a layout number, but no slice, 3D, table or plot view in a layout.
- The Segment Editor, DICOM browser, extension manager, CLI modules and the Python console.
- Units, translations and Slicer's style; the history menu of paths; drag and drop; context menus.
- The model classes behind Slicer's views (qMRMLSceneModel and its like), `qt.BoolResult`, calling a signal to
  emit it, and integer arithmetic with Qt's enumerations.
"""

from slicerhost.dialogs import UnexpectedDialogError, answers
from slicerhost.host import (
    close_scene,
    forget_settings,
    is_quitting,
    load_module,
    process_events,
    quit_application,
    screenshot,
    start,
    unload_all_modules,
    unload_module,
)

__all__ = [
    "UnexpectedDialogError",
    "answers",
    "close_scene",
    "forget_settings",
    "is_quitting",
    "load_module",
    "process_events",
    "quit_application",
    "screenshot",
    "start",
    "unload_all_modules",
    "unload_module",
]
