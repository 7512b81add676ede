"""Stand-ins of the widgets that show tables, segments and plots, and screenshots of them."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def slicer(host):
    import slicer

    return slicer


@pytest.fixture
def losses(slicer):
    """A table node: epoch, training and validation."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "losses")
    epochs = np.arange(20)
    columns = [epochs, np.exp(-epochs / 5.0), np.exp(-epochs / 10.0)]
    slicer.util.updateTableFromArray(node, columns, ["epoch", "training", "validation"])
    return node


def cell(view, row: int, column: int) -> str:
    return view.model().index(row, column).data()


def headers(view, orientation) -> list[str]:
    count = view.model().columnCount() if orientation.name == "Horizontal" else view.model().rowCount()
    return [view.model().headerData(index, orientation) for index in range(count)]


def test_table_view_shows_names_in_the_first_row(slicer, losses):
    import qt

    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(losses)
    assert (view.model().rowCount(), view.model().columnCount()) == (21, 3)
    assert headers(view, qt.Qt.Horizontal) == ["A", "B", "C"]
    assert [cell(view, 0, 1), cell(view, 1, 1), cell(view, 2, 0)] == ["training", "1", "1"]


def test_table_view_with_headers_and_transposed(slicer, losses):
    import qt

    losses.SetUseColumnTitleAsColumnHeader(True)
    losses.SetUseFirstColumnAsRowHeader(True)
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(losses)
    assert headers(view, qt.Qt.Horizontal) == ["training", "validation"]
    assert headers(view, qt.Qt.Vertical)[:3] == ["0", "1", "2"]
    view.transposed = True
    assert headers(view, qt.Qt.Vertical) == ["training", "validation"]
    assert cell(view, 1, 0) == "1"


def test_table_view_follows_and_edits_the_node(slicer, losses):
    import qt

    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(losses)
    losses.SetCellText(0, 1, "0.5")
    losses.Modified()
    assert cell(view, 1, 1) == "0.5"
    assert view.model().setData(view.model().index(1, 1), "0.25", qt.Qt.EditRole)
    assert losses.GetCellText(0, 1) == "0.25"
    assert view.model().flags(view.model().index(1, 1)) & qt.Qt.ItemIsEditable
    losses.SetLocked(True)
    assert not view.model().flags(view.model().index(1, 1)) & qt.Qt.ItemIsEditable


def test_table_view_tells_when_the_selection_changes(slicer, losses):
    view, seen = slicer.qMRMLTableView(), []
    view.setMRMLTableNode(losses)
    view.connect("selectionChanged()", lambda: seen.append(True))
    view.selectRow(2)
    assert seen


def test_table_view_without_node(slicer, losses):
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(losses)
    view.setMRMLTableNode(None)
    assert view.mrmlTableNode() is None and view.model().rowCount() == 0


@pytest.fixture
def segmentation(slicer):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.CreateDefaultDisplayNodes()
    volume = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6)))
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, color in (("liver", (1.0, 0.0, 0.0)), ("spleen", (0.0, 1.0, 0.0))):
        node.GetSegmentation().AddEmptySegment(name, name, color)
    return node


def test_segments_table(slicer, segmentation):
    view, seen = slicer.qMRMLSegmentsTableView(), []
    view.setSegmentationNode(segmentation)
    view.connect("selectionChanged(QItemSelection,QItemSelection)", lambda: seen.append(True))
    table = view.SegmentsTable
    assert [table.item(row, 3).text() for row in range(table.rowCount)] == ["liver", "spleen"]
    assert table.item(0, 1).background().color().red() == 255
    view.setSelectedSegmentIDs(["spleen"])
    assert view.selectedSegmentIDs() == ("spleen",) and seen
    segmentation.GetSegmentation().GetSegment("spleen").SetName("Milz")
    assert table.item(1, 3).text() == "Milz"
    assert view.selectedSegmentIDs() == ("spleen",), "a change keeps the selection"
    segmentation.GetSegmentation().RemoveSegment("liver")
    assert view.segmentCount() == 1


def test_segments_table_edits(slicer, segmentation):
    import qt

    view = slicer.qMRMLSegmentsTableView()
    view.setSegmentationNode(segmentation)
    view.SegmentsTable.item(0, 3).setText("Leber")
    view.SegmentsTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert segmentation.GetSegmentation().GetSegment("liver").GetName() == "Leber"
    assert not segmentation.GetDisplayNode().GetSegmentVisibility("liver")
    view.opacityColumnVisible = False
    assert view.SegmentsTable.isColumnHidden(2)


def make_chart(slicer, table):
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "training")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("epoch")
    series.SetYColumnName("training")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetColor(1.0, 0.0, 0.0)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Loss")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetLegendVisibility(False)
    return chart


def red_curve(image) -> dict[int, int]:
    """Column -> uppermost row with a clearly red pixel."""
    found = {}
    for column in range(image.width()):
        for row in range(image.height()):
            color = image.pixelColor(column, row)
            if color.red() > 200 and color.green() < 90 and color.blue() < 90:
                found[column] = row
                break
    return found


def test_plot_view_draws_the_data(slicer, losses, host, tmp_path):
    import qt

    view_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    view_node.SetPlotChartNodeID(make_chart(slicer, losses).GetID())
    widget = slicer.qMRMLPlotWidget()
    widget.setMRMLPlotViewNode(view_node)
    curve = red_curve(qt.QImage(str(host.screenshot(widget, tmp_path / "plot.png", size=(320, 240)))))
    rows = [curve[column] for column in sorted(curve)]
    assert len(rows) > 150 and rows[-1] - rows[0] > 100, "it falls as the data do"
    assert all(later - row > -3 for row, later in zip(rows, rows[1:], strict=False)), "and never rises"
    losses.GetTable().GetColumnByName("training").Fill(0.5)
    losses.Modified()
    flat = red_curve(qt.QImage(str(host.screenshot(widget, tmp_path / "flat.png", size=(320, 240)))))
    assert len(set(flat.values())) == 1, "a change of the table is drawn"


def test_plot_view_without_chart_is_white(slicer):
    view = slicer.qMRMLPlotView()
    view.resize(120, 90)
    image = view.grab().toImage()
    assert {image.pixelColor(x, y).name() for x in range(120) for y in range(90)} == {"#ffffff"}
