"""Stand-ins of qMRMLPlotView and qMRMLPlotWidget: draw the series of a plot chart node with matplotlib."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Signal
from vtk.util.numpy_support import vtk_to_numpy

from slicerhost.cpp import cpp_class
from slicerhost.mrml_observing import SceneObserver, qMRMLWidget

DOTS_PER_INCH = 100


@cpp_class
class qMRMLPlotView(QtWidgets.QWidget, SceneObserver):
    """Shows the chart that its plot view node names."""

    dataSelected = Signal(object, object)
    CPP_SIGNALS = {"dataSelected(vtkStringArray*,vtkCollection*)": "dataSelected"}

    def __init__(self, parent=None):
        super().__init__(parent)
        self._view_node = None
        self._image: QtGui.QImage | None = None
        self.setMinimumSize(120, 90)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)

    def setMRMLScene(self, scene) -> None:
        self._scene = scene

    def setMRMLPlotViewNode(self, node) -> None:
        self._stop_observing("view")
        self._view_node = node
        if node is not None:
            self._observe(node, (vtk.vtkCommand.ModifiedEvent,), self._chart_chosen, "view")
        self._chart_chosen()

    def mrmlPlotViewNode(self):
        return self._view_node

    def _chart(self):
        return self._view_node.GetPlotChartNode() if self._view_node is not None else None

    def _chart_chosen(self) -> None:
        self._stop_observing("chart")
        chart = self._chart()
        if chart is not None:
            self._observe(chart, (vtk.vtkCommand.ModifiedEvent,), self._chart_chosen, "chart")
        for series in _series_of(chart):
            self._observe(series, (vtk.vtkCommand.ModifiedEvent,), self._redraw, "chart")
            table = series.GetTableNode()
            if table is not None:
                self._observe(table, (vtk.vtkCommand.ModifiedEvent,), self._redraw, "chart")
        self._redraw()

    def _redraw(self) -> None:
        self._image = None
        self.update()

    def fitToContent(self) -> None:
        self._redraw()

    def resizeEvent(self, event):
        self._image = None
        super().resizeEvent(event)

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtGui.QColor("white"))
        chart = self._chart()
        if chart is not None:
            if self._image is None:
                self._image = draw_chart(chart, self.width, self.height)
            painter.drawImage(0, 0, self._image)
        painter.end()


@cpp_class
class qMRMLPlotWidget(qMRMLWidget):
    """A plot view with the (not imitated) controller bar above it."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._view = qMRMLPlotView()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)

    def plotView(self) -> qMRMLPlotView:
        return self._view

    def setMRMLPlotViewNode(self, node) -> None:
        self._view.setMRMLPlotViewNode(node)

    def mrmlPlotViewNode(self):
        return self._view.mrmlPlotViewNode()


def _series_of(chart) -> list:
    if chart is None:
        return []
    return [
        node for node in map(chart.GetNthPlotSeriesNode, range(chart.GetNumberOfPlotSeriesNodes())) if node
    ]


def draw_chart(chart, width: int, height: int) -> QtGui.QImage:
    """An image of the chart with its titles, axes, legend and all its series, in screen pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (max(width, 60) / DOTS_PER_INCH, max(height, 45) / DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="tight")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for series in _series_of(chart):
        _draw_series(axes, series)
    axes.set_title(chart.GetTitle() or "" if chart.GetTitleVisibility() else "", fontsize=9)
    axes.set_xlabel(chart.GetXAxisTitle() or "" if chart.GetXAxisTitleVisibility() else "", fontsize=8)
    axes.set_ylabel(chart.GetYAxisTitle() or "" if chart.GetYAxisTitleVisibility() else "", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(bool(chart.GetGridVisibility()))
    _apply_scales(axes, chart)
    if chart.GetLegendVisibility() and axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7)
    canvas.draw()
    pixels = canvas.buffer_rgba()
    rows, columns = pixels.shape[:2]
    return QtGui.QImage(pixels, columns, rows, 4 * columns, QtGui.QImage.Format_RGBA8888).copy()


def _apply_scales(axes, chart) -> None:
    if chart.GetXAxisLogScale():
        axes.set_xscale("log")
    if chart.GetYAxisLogScale():
        axes.set_yscale("log")
    if not chart.GetXAxisRangeAuto():
        axes.set_xlim(*chart.GetXAxisRange())
    if not chart.GetYAxisRangeAuto():
        axes.set_ylim(*chart.GetYAxisRange())


def _draw_series(axes, series) -> None:
    table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
    y_column = table.GetColumnByName(series.GetYColumnName() or "") if table is not None else None
    if y_column is None:
        return
    y = vtk_to_numpy(y_column)
    kinds, kind = slicer.vtkMRMLPlotSeriesNode, series.GetPlotType()
    uses_x_column = kind in (kinds.PlotTypeScatter, kinds.PlotTypeScatterBar)  # the others count the rows
    x_column = table.GetColumnByName(series.GetXColumnName() or "") if uses_x_column else None
    x = vtk_to_numpy(x_column) if x_column is not None else range(len(y))
    color, label = series.GetColor(), series.GetName()
    if kind in (kinds.PlotTypeBar, kinds.PlotTypeScatterBar):
        axes.bar(x, y, color=color, label=label)
        return
    line = "-" if series.GetLineStyle() != kinds.LineStyleNone else ""
    marker = "o" if series.GetMarkerStyle() != kinds.MarkerStyleNone else ""
    style = {"color": color, "label": label, "linewidth": series.GetLineWidth() * 0.75, "markersize": 4}
    axes.plot(x, y, line, marker=marker, **style)
