"""A thousand findings: the drawing and the threshold stay fluid, since they are points of a single list."""

from __future__ import annotations

import time

import numpy as np
import pytest
from detect_panel import SHAPE, some_findings

COUNT = 1000


def seconds_per_render(view, volume, moves: int = 20) -> float:
    """The median time to draw the view after it has moved by a slice."""
    view.show(volume)
    node = view.node
    place = np.array(node.GetSliceToRAS().MultiplyPoint((0, 0, 0, 1)))[:3] if hasattr(node, "GetSliceToRAS") else None
    times = []
    for number in range(moves):
        if place is not None:
            node.JumpSliceByOffsetting(*(place + (0, 0, number % 5)))
        start = time.perf_counter()
        view.render()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


@pytest.fixture
def volume(host):
    from MedDeepLib.data.sources.image import Image
    from MedDeepLib.scene import nodes

    values = np.random.default_rng(3).normal(100, 10, SHAPE).astype(np.float32)
    return nodes.volume_from_image(Image(values[None], np.diag([1.0, 1.0, 2.0, 1.0])), "volume")


def test_drawing_a_thousand_findings(volume, record_property):
    from DetectModuleLib.scene.findings_nodes import FindingsNodes
    from MedDeepLib.scene.views import SliceView

    view = SliceView("Findings")
    try:
        empty = seconds_per_render(view, volume)
        start = time.perf_counter()
        shown = FindingsNodes.make("many", some_findings(COUNT, np.diag([1.0, 1.0, 2.0, 1.0])), [volume])
        shown.show_boxes()
        made = time.perf_counter() - start
        with_points = seconds_per_render(view, volume)
        start = time.perf_counter()
        shown.show(0.5)
        threshold = time.perf_counter() - start
        with_half = seconds_per_render(view, volume)
        shown.close()
    finally:
        view.close()
    said = (
        f"a slice view draws {COUNT} findings with 50 boxes in {with_points / empty:.1f} times the time of an empty "
        f"one ({1000 * with_points:.0f} ms, half of them {1000 * with_half:.0f} ms); they are made in {made:.2f} s, "
        f"and another threshold takes {1000 * threshold:.0f} ms"
    )
    record_property("tally", said)
    assert shown.points.GetNumberOfControlPoints() == COUNT


def test_the_panel_with_a_thousand_findings(panel):
    panel.choose(panel.add_volume(), some_findings(COUNT))
    panel.apply()
    assert len(panel.rows()) == COUNT
    panel.ui.reviewThresholdSlider.value = 0.5
    assert len(panel.rows()) == len(panel.visible_points()) == sum(one.score >= 0.5 for one in panel.shown.findings)
    panel.click_row(7)
    panel.ui.reviewRejectButton.click()
    assert [one.review for one in panel.shown.findings].count("rejected") == 1
