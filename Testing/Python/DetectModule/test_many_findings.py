"""A thousand findings: the drawing and the threshold stay fluid, since they are points of a single list."""

from __future__ import annotations

import time

import numpy as np
import pytest
from detect_panel import SHAPE, some_findings

COUNT = 1000


def seconds_per_render(view, moves: int = 15) -> float:
    """The median CPU time to draw the view after it has moved by a slice."""
    times = []
    for number in range(moves):
        view.node.JumpSliceByOffsetting(20.0, 18.0, 10.0 + 2 * (number % 9))
        start = time.process_time()
        view.render()
        times.append(time.process_time() - start)
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
        view.show(volume)
        empty = seconds_per_render(view)
        start = time.process_time()
        shown = FindingsNodes.make("many", some_findings(COUNT, np.diag([1.0, 1.0, 2.0, 1.0])), [volume])
        made = time.process_time() - start
        points = seconds_per_render(view)
        shown.show_boxes()
        boxes = seconds_per_render(view)
        start = time.process_time()
        shown.show(0.5)
        threshold = time.process_time() - start
        name, roi = next(iter(shown.boxes().items()))
        start = time.process_time()
        roi.SetSize(7.0, 8.0, 9.0)
        drag = time.process_time() - start
        assert np.allclose(shown.find(name).box.size, (7.0, 8.0, 9.0))
        shown.close()
    finally:
        view.close()
    said = (
        f"a slice view with {COUNT} findings is drawn in {points / empty:.1f} times the time of an empty one, with 50 "
        f"boxes in {boxes / empty:.1f} times ({1000 * empty:.0f}, {1000 * points:.0f} and {1000 * boxes:.0f} ms); the "
        f"nodes are made in {made:.1f} s, another threshold takes {1000 * threshold:.0f} ms, and a step "
        f"of a drag {1000 * drag:.0f} ms"
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
