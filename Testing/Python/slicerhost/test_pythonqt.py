"""The conventions of PythonQt that slicerhost gives to PySide6."""

from __future__ import annotations

import functools

import pytest


@pytest.fixture
def qt(host):
    import qt

    return qt


def test_properties_are_attributes(qt):
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    button.text = "Run"
    button.setToolTip("Runs")
    assert (button.text, button.toolTip, button.enabled) == ("Run", "Runs", True)


def test_a_property_cannot_be_called(qt):
    with pytest.raises(TypeError):
        qt.QPushButton("Apply").text()


def test_a_new_attribute_on_a_cpp_object_is_refused(qt):
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects"):
        qt.QLabel().remark = "no"


def test_a_method_cannot_be_overwritten(qt):
    with pytest.raises(AttributeError, match="can not be overwritten"):
        qt.QLabel().setText = print


def test_a_read_only_property_is_refused(qt):
    with pytest.raises(AttributeError, match="not writable"):
        qt.QWidget().width = 3


def test_a_value_of_the_wrong_type_is_refused(qt):
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QSpinBox().value = object()


def test_a_python_subclass_may_have_attributes(qt):
    class Panel(qt.QWidget):
        pass

    panel = Panel()
    panel.remark = "yes"
    assert panel.remark == "yes"


def test_dynamic_properties_and_children_are_attributes(qt):
    widget = qt.QWidget()
    child = qt.QLabel("hello", widget)
    child.name = "greeting"
    widget.setProperty("SlicerParameterName", "volume")
    assert widget.SlicerParameterName == "volume"
    widget.SlicerParameterName = "mask"
    assert widget.property("SlicerParameterName") == "mask"
    assert widget.greeting.text == "hello"
    with pytest.raises(AttributeError, match="no attribute named 'absent'"):
        _ = widget.absent


def test_names_and_classes(qt):
    widget = qt.QWidget()
    widget.name = "panel"
    assert (widget.objectName, widget.className()) == ("panel", "QWidget")


def test_find_children_by_class_name(qt):
    widget = qt.QWidget()
    labels = [qt.QLabel(widget), qt.QLabel(widget)]
    qt.QPushButton(widget)
    labels[1].name = "second"
    assert widget.findChildren("QLabel") == labels
    assert widget.findChildren(qt.QLabel, "second") == labels[1:]
    assert widget.findChild("QLabel", "third") is None


def test_delete_is_immediate(qt):
    parent = qt.QWidget()
    qt.QLabel(parent).delete()
    assert parent.children() == []


def test_static_function_with_the_name_of_a_property(qt, host):
    seen = []
    timer = qt.QTimer()
    timer.singleShot = True
    qt.QTimer.singleShot(0, lambda: seen.append(timer.singleShot))
    assert host.process_events(1, until=lambda: seen) and seen == [True]


def test_names_of_pyside_are_absent(qt):
    assert not hasattr(qt, "Signal") and not hasattr(qt, "Slot")


@pytest.mark.parametrize("signature", ["clicked", "clicked(int)", "clickd()", "text()"])
def test_connect_refuses_an_unknown_or_mistyped_signal(qt, signature):
    with pytest.raises(ValueError, match="no signal"):
        qt.QPushButton().connect(signature, print)


def test_connect_refuses_what_cannot_be_called(qt):
    with pytest.raises(TypeError, match="cannot be called"):
        qt.QPushButton().connect("clicked()", None)


def test_connect_cuts_arguments_to_the_signature_and_the_function(qt):
    button, seen = qt.QPushButton(), []
    button.checkable = True
    button.connect("clicked()", lambda *values: seen.append(("none", values)))
    button.connect("clicked(bool)", lambda *values: seen.append(("all", values)))
    button.connect("clicked(bool)", lambda: seen.append(("function", ())))
    button.click()
    assert seen == [("none", ()), ("all", (True,)), ("function", ())]


def test_a_bound_method_is_cut_and_kept_alive(qt):
    class Listener:
        def __init__(self, seen):
            self.seen = seen

        def changed(self):
            self.seen.append("changed")

    seen, box = [], qt.QSpinBox()
    box.connect("valueChanged(int)", Listener(seen).changed)
    box.value = 3
    assert seen == ["changed"]


def test_a_partial_receives_all_arguments_as_in_pythonqt(qt):
    seen, box = [], qt.QSpinBox()
    box.connect("valueChanged(int)", functools.partial(lambda *values: seen.append(values), "box"))
    box.value = 3
    assert seen == [("box", 3)]


def test_disconnect(qt):
    seen, box = [], qt.QSpinBox()

    def first():
        seen.append("first")

    def second():
        seen.append("second")

    box.connect("valueChanged(int)", first)
    box.connect("valueChanged(int)", second)
    assert box.disconnect("valueChanged(int)", first)
    assert not box.disconnect("valueChanged(int)", first)
    box.value = 1
    assert box.disconnect("valueChanged(int)")
    box.value = 2
    assert seen == ["second"]


def test_timer_with_the_string_form(qt, host):
    seen, timer = [], qt.QTimer()
    timer.setInterval(1)
    timer.connect("timeout()", lambda: seen.append(timer.stop()))
    timer.start()
    assert host.process_events(1, until=lambda: seen) and not timer.active


def test_connect_to_a_slot_by_name(qt):
    edit, label = qt.QLineEdit(), qt.QLabel()
    edit.connect("textChanged(QString)", label, "setText(QString)")
    edit.text = "copied"
    assert label.text == "copied"


def test_signal_attributes_work_too(qt):
    seen, box = [], qt.QDoubleSpinBox()
    box.valueChanged.connect(seen.append)
    box.value = 2.5
    box.valueChanged.disconnect(seen.append)
    box.value = 3.5
    assert seen == [2.5]


def test_process_signals(qt, host):
    import sys

    seen, process = [], qt.QProcess()
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: seen.append((code, status)))
    process.start(sys.executable, ["-c", "print('hello')"])
    assert host.process_events(20, until=lambda: seen)
    assert seen == [(0, qt.QProcess.NormalExit)]
    assert bytes(process.readAllStandardOutput().data()).strip() == b"hello"
