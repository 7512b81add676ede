"""Forms with stand-ins for ctk and qMRML classes."""

from __future__ import annotations

import pytest

FORM = """<ui version="4.0"><class>Form</class>
<widget class="qMRMLWidget" name="Form">
<layout class="QVBoxLayout" name="layout"><item>{item}</item></layout></widget>
<customwidgets><customwidget><class>qMRMLWidget</class></customwidget></customwidgets>
<connections>{connections}</connections></ui>"""
CONNECTION = (
    "<connection><sender>Form</sender><signal>{signal}</signal>"
    "<receiver>{receiver}</receiver><slot>{slot}</slot></connection>"
)
SELECTOR = '<widget class="qMRMLNodeComboBox" name="selector"/>'


@pytest.fixture
def load(host, tmp_path):
    import slicer

    def load(item: str, connections: str = ""):
        path = tmp_path / "form.ui"
        path.write_text(FORM.format(item=item, connections=connections), encoding="utf-8")
        return slicer.util.loadUI(str(path))

    return load


def test_makes_stand_ins_and_sets_their_properties(load):
    import ctk
    import slicer

    form = load(
        '<widget class="ctkSliderWidget" name="slider">'
        '<property name="maximum"><double>5.0</double></property>'
        '<property name="SlicerParameterName" stdset="0"><string>sigma</string></property></widget>'
    )
    slider = slicer.util.childWidgetVariables(form).slider
    assert type(slider) is ctk.ctkSliderWidget
    assert (slider.maximum, slider.property("SlicerParameterName")) == (5.0, "sigma")


def test_enumerations_of_a_stand_in(load):
    import ctk

    form = load(
        '<widget class="ctkPathLineEdit" name="path"><property name="filters">'
        "<set>ctkPathLineEdit::Files|ctkPathLineEdit::Writable</set></property></widget>"
    )
    assert form.path.filters == ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Writable


def test_enumerations_of_qt_on_a_stand_in(load):
    form = load(
        '<widget class="ctkDoubleSlider" name="slider"><property name="orientation">'
        "<enum>Qt::Orientation::Vertical</enum></property></widget>"
    )
    assert form.slider.orientation == 2


def test_connections_of_the_form_hand_on_the_scene(load):
    import slicer

    connection = CONNECTION.format(
        signal="mrmlSceneChanged(vtkMRMLScene*)", receiver="selector", slot="setMRMLScene(vtkMRMLScene*)"
    )
    form = load(SELECTOR, connection)
    form.setMRMLScene(slicer.mrmlScene)
    assert form.selector.mrmlScene() is slicer.mrmlScene


def test_an_unknown_widget_class_is_an_error(load):
    with pytest.raises(TypeError, match="no stand-in for the widget class ctkColapsibleButton"):
        load('<widget class="ctkColapsibleButton" name="button"/>')


def test_an_unknown_property_is_an_error(load):
    with pytest.raises(ValueError, match="qMRMLNodeComboBox has no property 'nodeType'"):
        load(
            '<widget class="qMRMLNodeComboBox" name="selector">'
            '<property name="nodeType"><string>vtkMRMLNode</string></property></widget>'
        )


@pytest.mark.parametrize(
    ("signal", "receiver", "slot", "error"),
    [
        ("mrmlSceneChange(vtkMRMLScene*)", "selector", "setMRMLScene(vtkMRMLScene*)", ValueError),
        ("mrmlSceneChanged(vtkMRMLScene*)", "selektor", "setMRMLScene(vtkMRMLScene*)", RuntimeError),
        ("mrmlSceneChanged(vtkMRMLScene*)", "selector", "setScene(vtkMRMLScene*)", ValueError),
    ],
)
def test_a_wrong_connection_is_an_error(load, signal, receiver, slot, error):
    with pytest.raises(error):
        load(SELECTOR, CONNECTION.format(signal=signal, receiver=receiver, slot=slot))


def test_a_missing_file_is_an_error(host):
    import slicer

    with pytest.raises(RuntimeError, match="file not found"):
        slicer.util.loadUI("absent.ui")
