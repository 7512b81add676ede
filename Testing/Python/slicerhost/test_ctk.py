"""Stand-ins of the CTK widgets."""

from __future__ import annotations

import pytest


@pytest.fixture
def ctk(host):
    import ctk

    return ctk


def section_with_label(ctk):
    import qt

    section = ctk.ctkCollapsibleButton("Advanced")
    layout = qt.QVBoxLayout(section)
    label = qt.QLabel("inside")
    layout.addWidget(label)
    return section, label


def test_collapsible_button_hides_its_children(ctk):
    section, label = section_with_label(ctk)
    seen = []
    section.connect("contentsCollapsed(bool)", seen.append)
    section.collapsed = True
    assert label.isHidden() and not section.checked
    section.checked = True
    assert not label.isHidden() and not section.collapsed
    assert seen == [True, False]


def test_collapsible_button_keeps_a_hidden_child_hidden(ctk):
    section, label = section_with_label(ctk)
    section.show()
    label.visible = False
    section.collapsed = True
    section.collapsed = False
    assert label.isHidden()


def test_a_child_shown_while_collapsed_appears_on_expanding(ctk):
    section, label = section_with_label(ctk)
    section.show()
    label.visible = False
    section.collapsed = True
    label.visible = True
    assert label.isHidden()
    section.collapsed = False
    assert not label.isHidden()


def test_collapsible_button_is_low_when_collapsed_and_toggles_on_a_click(ctk, host):
    import qt

    section, _ = section_with_label(ctk)
    section.resize(200, 100)
    section.show()
    host.process_events()
    high = section.sizeHint().height()
    qt.QTest.mouseClick(section, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(20, 5))
    assert section.collapsed and section.sizeHint().height() < high
    section.checked = True
    qt.QTest.mouseClick(section, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(20, 80))
    assert not section.collapsed, "only the header reacts"


def test_collapsible_group_box(ctk):
    import qt

    box = ctk.ctkCollapsibleGroupBox()
    label = qt.QLabel(box)
    box.collapsed = True
    assert label.isHidden() and not box.checked
    box.collapsed = False
    assert not label.isHidden()


@pytest.mark.parametrize("name", ["ctkSliderWidget", "ctkDoubleSlider", "ctkDoubleSpinBox"])
def test_numbers_stay_in_their_range(ctk, name):
    widget, seen = getattr(ctk, name)(), []
    widget.connect("valueChanged(double)", seen.append)
    widget.minimum, widget.maximum = 1.0, 10.0
    widget.value = 4.25
    widget.value = 40
    assert (widget.value, widget.minimum, widget.maximum) == (10.0, 1.0, 10.0)
    assert seen[-2:] == [4.25, 10.0]
    with pytest.raises(AttributeError):
        widget.vlaue = 3


def test_unbounded_numbers(ctk):
    for widget in (ctk.ctkDoubleSlider(), ctk.ctkDoubleSpinBox()):
        widget.minimum, widget.maximum = float("-inf"), float("inf")
        widget.value = -4444.4
        assert widget.value == -4444.4


def test_slider_widget_rounds_and_moves_its_parts_together(ctk):
    widget = ctk.ctkSliderWidget()
    widget.decimals = 1
    widget.suffix = " mm"
    widget.value = 12.34
    assert widget.value == widget.slider().value == widget.spinBox().value == 12.3
    assert widget.spinBox().text == "12.3 mm"


@pytest.mark.parametrize("name", ["ctkRangeWidget", "ctkDoubleRangeSlider"])
def test_range(ctk, name):
    widget, seen = getattr(ctk, name)(), []
    widget.setRange(-10, 10)
    widget.setValues(0, 0)
    widget.connect("valuesChanged(double,double)", lambda low, high: seen.append((low, high)))
    widget.minimumValue = -1
    widget.maximumValue = 20
    widget.setValues(2, 3)
    assert seen == [(-1.0, 0.0), (-1.0, 10.0), (2.0, 3.0)]
    widget.minimumValue = 5
    assert (widget.minimumValue, widget.maximumValue) == (5.0, 5.0)


def test_path_line_edit(ctk, host, tmp_path):
    edit, paths, valid = ctk.ctkPathLineEdit(), [], []
    edit.connect("currentPathChanged(QString)", paths.append)
    edit.connect("validInputChanged(bool)", valid.append)
    edit.filters = ctk.ctkPathLineEdit.Dirs
    edit.currentPath = str(tmp_path)
    edit.currentPath = str(tmp_path / "absent")
    assert paths == [str(tmp_path), str(tmp_path / "absent")]
    assert valid == [True, False]


def test_path_line_edit_browses_for_what_its_filters_say(ctk, host):
    edit = ctk.ctkPathLineEdit()
    for filters, expected in (
        (edit.Dirs, "getExistingDirectory"),
        (edit.Files, "getOpenFileName"),
        (edit.Files | edit.Writable, "getSaveFileName"),
    ):
        edit.filters = filters
        with host.answers(f"/data/{expected}") as asked:
            edit.browse()
        assert asked[0].startswith(expected) and edit.currentPath == f"/data/{expected}"


def test_path_line_edit_remembers_its_history(ctk):
    first = ctk.ctkPathLineEdit()
    first.settingKey = "history of a test"
    first.currentPath = "/data/a"
    first.addCurrentPathToHistory()
    second = ctk.ctkPathLineEdit()
    second.settingKey = "history of a test"
    assert second.currentPath == "/data/a"


def test_directory_button(ctk, host):
    button, seen = ctk.ctkDirectoryButton(), []
    button.connect("directoryChanged(QString)", seen.append)
    with host.answers("/data"):
        button.browse()
    button.directory = "/data"
    assert (button.directory, seen) == ("/data", ["/data"])


def test_checkable_combo_box(ctk):
    import qt

    box, seen = ctk.ctkCheckableComboBox(), []
    box.addItems(["one", "two"])
    box.connect("checkedIndexesChanged()", lambda: seen.append(len(box.checkedIndexes())))
    box.setCheckState(box.model().index(1, 0), qt.Qt.Checked)
    assert [index.row() for index in box.checkedIndexes()] == [1]
    assert seen == [1] and not box.allChecked() and not box.noneChecked()


def test_small_widgets(ctk):
    import qt

    picker, colors = ctk.ctkColorPickerButton(), []
    picker.connect("colorChanged(QColor)", colors.append)
    picker.color = qt.QColor("red")
    assert picker.color == colors[0] == qt.QColor("red") and picker.text == "#ff0000"
    checkable, states = ctk.ctkCheckablePushButton(), []
    checkable.connect("checkBoxToggled(bool)", states.append)
    checkable.checkState = qt.Qt.Checked
    assert states == [True]
    combo = ctk.ctkComboBox()
    combo.defaultText = "Choose"
    assert combo.defaultText == combo.placeholderText == "Choose"
    browser = ctk.ctkFittedTextBrowser()
    low = browser.sizeHint().height()
    browser.setText("<br>".join(["line"] * 20))
    assert browser.sizeHint().height() > low
    assert isinstance(ctk.ctkWidgetsUtils.grabWidget(picker), qt.QImage)
