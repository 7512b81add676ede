"""Curves of a training in the scene: a table and a plot series for each metric, and one chart with all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_STEP_COLUMN = "step"
_COLORS = (
    (0.12, 0.35, 0.80),
    (0.85, 0.33, 0.10),
    (0.20, 0.60, 0.25),
    (0.55, 0.30, 0.65),
    (0.50, 0.40, 0.20),
    (0.90, 0.60, 0.00),
    (0.00, 0.60, 0.65),
    (0.80, 0.20, 0.45),
    (0.45, 0.45, 0.45),
    (0.40, 0.65, 0.95),
)


class TrainingCurves:
    """Appends the ``metrics`` events of a job to MRML tables; a plot view that shows the chart follows by
    itself.

    Only node IDs are kept, so that the user may delete any of the nodes, or close the scene, at any time.
    """

    def __init__(self, name: str, chart: Any = None):
        """Start with empty curves.

        Args:
            name: of the run; the nodes are named after it.
            chart: a chart of earlier curves to reuse; its series and their tables are
            removed.
        """
        import slicer

        self._name = name
        self._series_ids: dict[tuple[str, str], str] = {}
        self._stages: list[str] = []
        if chart is None:
            chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode")
        else:
            _remove_series(chart)
        chart.SetName(f"{name} curves")
        chart.SetTitle(name)
        chart.SetXAxisTitle("step")
        chart.SetYAxisTitle("")
        chart.SetYAxisTitleVisibility(False)
        self._chart_id = chart.GetID()

    @property
    def chart(self) -> Any:
        """The vtkMRMLPlotChartNode, None if it is no longer in the scene."""
        import slicer

        return slicer.mrmlScene.GetNodeByID(self._chart_id)

    def add(self, events: Iterable[dict[str, Any]]) -> None:
        """Append the metrics of all ``metrics`` events; other events and values that are not finite are skipped."""
        changed = {}
        for event in events:
            if event["event"] != "metrics":
                continue
            for metric, value in event["values"].items():
                table = self._table(event["stage"], metric) if value is not None else None
                if table is not None and value is not None:
                    _append(table, event["step"], value)
                    changed[table.GetID()] = table
        # One event for all new rows: each event redraws the plot views.
        for table in changed.values():
            table.GetTable().Modified()

    def _table(self, stage: str, metric: str) -> Any:
        import slicer

        key = stage, metric
        if key not in self._series_ids:
            if self.chart is None:
                return None
            self._series_ids[key] = self._add_series(stage, metric)
        series = slicer.mrmlScene.GetNodeByID(self._series_ids[key])
        return series.GetTableNode() if series is not None else None

    def _add_series(self, stage: str, metric: str) -> str:
        import slicer

        if stage not in self._stages:
            self._stages.append(stage)
            if len(self._stages) == 2:
                self._name_the_first_stage()
        title = metric if len(self._stages) == 1 else f"{stage}: {metric}"
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", title)
        series.SetAndObserveTableNodeID(_new_table(f"{self._name} {title}", metric).GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName(_STEP_COLUMN)
        series.SetYColumnName(metric)
        series.SetColor(*_COLORS[len(self._series_ids) % len(_COLORS)])
        series.SetLineStyle(series.LineStyleSolid)
        # There are few validations, so their points are marked. The loss has thousands.
        series.SetMarkerStyle(series.MarkerStyleNone if metric == "loss" else series.MarkerStyleCircle)
        self.chart.AddAndObservePlotSeriesNodeID(series.GetID())
        return series.GetID()

    def _name_the_first_stage(self) -> None:
        """Add the stage's name to its curves, which was unnecessary while there was only one stage."""
        import slicer

        for (stage, metric), series_id in self._series_ids.items():
            series = slicer.mrmlScene.GetNodeByID(series_id)
            if series is not None:
                series.SetName(f"{stage}: {metric}")


def show_chart(chart: Any) -> None:
    """Show a chart in the plot view of the layout; a layout with a plot view is chosen if necessary."""
    import slicer

    slicer.modules.plots.logic().ShowChartInLayout(chart)


def _new_table(name: str, metric: str) -> Any:
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    for title in (_STEP_COLUMN, metric):
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def _append(table_node: Any, step: float, value: float) -> None:
    table = table_node.GetTable()
    steps, values = table.GetColumn(0), table.GetColumn(1)
    # A resumed training repeats the steps since its last checkpoint.
    rows = steps.GetNumberOfTuples()
    while rows and steps.GetValue(rows - 1) >= step:
        rows -= 1
    for column, number in ((steps, step), (values, value)):
        if rows < column.GetNumberOfTuples():
            column.SetNumberOfTuples(rows)
        column.InsertNextValue(number)


def _remove_series(chart: Any) -> None:
    import slicer

    for series in [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]:
        if series is None:
            continue
        if series.GetTableNode() is not None:
            slicer.mrmlScene.RemoveNode(series.GetTableNode())
        slicer.mrmlScene.RemoveNode(series)
    chart.RemoveAllPlotSeriesNodeIDs()
