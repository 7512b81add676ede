"""Curves of a training as MRML nodes."""

from __future__ import annotations

import pytest


def metrics(step: int, value: float | None, figure: str = "loss", stage: str = "unet") -> dict:
    return {"event": "metrics", "stage": stage, "step": step, "values": {figure: value}}


def points(chart, number: int) -> list[tuple[float, float]]:
    series = chart.GetNthPlotSeriesNode(number)
    table = series.GetTableNode().GetTable()
    columns = [table.GetColumnByName(name) for name in (series.GetXColumnName(), series.GetYColumnName())]
    return [tuple(column.GetValue(row) for column in columns) for row in range(table.GetNumberOfRows())]


@pytest.fixture
def curves(host):
    from MedDeepLib.scene.curves import TrainingCurves

    return TrainingCurves("run")


def test_each_figure_becomes_a_series_of_the_chart(curves):
    curves.add([metrics(1, 2.0), metrics(5, 1.5), metrics(5, 0.25, "validation Dice")])
    curves.add([{"event": "phase", "phase": "Saving"}, metrics(9, 1.0)])
    assert curves.chart.GetNumberOfPlotSeriesNodes() == 2
    assert points(curves.chart, 0) == [(1, 2.0), (5, 1.5), (9, 1.0)]
    assert points(curves.chart, 1) == [(5, 0.25)]
    assert curves.chart.GetNthPlotSeriesNode(1).GetName() == "validation Dice"


def test_stages_have_series_of_their_own(curves):
    curves.add([metrics(1, 2.0), metrics(1, 3.0, stage="second")])
    names = [curves.chart.GetNthPlotSeriesNode(number).GetName() for number in range(2)]
    assert names == ["unet: loss", "second: loss"]
    assert curves.chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == 1


def test_many_points_at_once_cause_one_update(curves):
    import vtk

    curves.add([metrics(1, 2.0)])
    updates = []
    table = curves.chart.GetNthPlotSeriesNode(0).GetTableNode()
    table.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: updates.append(1))
    curves.add([metrics(step, 1.0) for step in range(2, 102)])
    assert len(updates) == 1
    assert table.GetNumberOfRows() == 101


def test_a_resumed_training_overwrites_the_steps_it_repeats(curves):
    curves.add([metrics(step, float(step)) for step in range(1, 11)])
    curves.add([metrics(7, 70.0), metrics(8, 80.0)])
    assert points(curves.chart, 0) == [*((step, step) for step in range(1, 7)), (7, 70), (8, 80)]


def test_a_figure_that_is_not_finite_is_left_out(curves):
    curves.add([metrics(1, None), metrics(2, 1.0)])
    assert points(curves.chart, 0) == [(2, 1.0)]


def test_the_next_run_uses_the_chart_again(curves):
    import slicer
    from MedDeepLib.scene.curves import TrainingCurves

    curves.add([metrics(1, 2.0)])
    again = TrainingCurves("next", curves.chart)
    assert again.chart is curves.chart
    assert again.chart.GetNumberOfPlotSeriesNodes() == 0
    assert not slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    assert not slicer.util.getNodesByClass("vtkMRMLTableNode")
    again.add([metrics(1, 5.0)])
    assert points(again.chart, 0) == [(1, 5.0)]


def test_deleted_nodes_and_a_closed_scene_are_no_error(curves, host):
    import slicer

    curves.add([metrics(1, 2.0)])
    slicer.mrmlScene.RemoveNode(curves.chart.GetNthPlotSeriesNode(0).GetTableNode())
    curves.add([metrics(2, 2.0)])
    host.close_scene()
    assert curves.chart is None
    curves.add([metrics(3, 2.0), metrics(3, 0.5, "validation Dice")])
    assert not slicer.util.getNodesByClass("vtkMRMLTableNode")
