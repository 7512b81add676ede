"""Hundreds of jobs with long event files: the event loop is never blocked, and little is read."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from heartbeat import LONGEST_GAP, Heartbeat

JOBS = 500
RUNNING = 5
EVENT_BYTES = 10_000_000


@pytest.fixture
def many(runs_folder, toy_run) -> list[Path]:
    """Jobs with ten megabytes of events each, most of them in one shared file. Some have models, some are running."""
    from MedDeepLib.jobs import Job, JobFolder

    stopped, unfinished = runs_folder / "stopped.jsonl", runs_folder / "unfinished.jsonl"
    events = training_events()
    unfinished.write_bytes(events)
    stopped.write_bytes(events + line(event="state", state="stopped"))
    job = Job("segment", "train", method="unet", dataset="list.json")
    folders = []
    for number in range(JOBS):
        folder = JobFolder.create(runs_folder / f"2026-11-22_10-00-00_segment_unet_{number:03}", job)
        os.utime(folder.job_file, (1.7e9 + number,) * 2)
        if number < RUNNING:
            shutil.copy(unfinished, folder.events_file)
            folder.register_worker()  # this process
        else:
            os.link(stopped, folder.events_file)
        if number % 10 == 9:
            shutil.copytree(toy_run / "model", folder.model_folder, copy_function=os.link)
        folders.append(folder.path)
    return folders


def training_events() -> bytes:
    parts, size, step = [line(event="state", state="running"), line(event="phase", phase="Training: unet")], 0, 0
    while size < EVENT_BYTES:
        step += 1
        told = line(event="progress", stage="unet", step=step, total=200_000, remaining=5000.0)
        if step % 10 == 0:
            told += line(event="metrics", stage="unet", step=step, values={"loss": 1 / step})
        parts.append(told)
        size += len(told)
    return b"".join(parts)


def line(**event) -> bytes:
    return json.dumps({"time": 1.7e9, **event}).encode() + b"\n"


@pytest.mark.alone
def test_hundreds_of_jobs_never_stop_the_event_loop(closed_panel, many):
    """During the first and later refreshes, details, sorting, curves, and new events."""
    import slicer

    panel = closed_panel
    panel.open()
    heartbeat = Heartbeat()
    heartbeat.start()
    began = time.perf_counter()
    panel.wait(lambda: len(panel.home.jobs.table.row_keys()) == JOBS and not panel.home.is_busy())
    print(f"all {JOBS} jobs were seen after {time.perf_counter() - began:.1f} s")
    assert len(panel.home.models.table.row_keys()) == JOBS // 10

    panel.ui.jobsTable.selectRow(3)
    panel.wait(lambda: panel.home.jobs.details.has_metrics() and not panel.home.is_busy())
    assert panel.home.jobs.details.summary.progress["step"] > 10_000
    panel.ui.jobsTable.horizontalHeader().sectionClicked.emit(5)
    panel.wait(lambda: panel.home.jobs.table.row_keys()[0] == str(many[0]) and not panel.home.jobs.table.is_busy())
    panel.ui.jobsCurvesButton.click()
    panel.wait(lambda: not panel.home.jobs.curves.is_following())

    for number in range(40):
        for path in many[:RUNNING]:
            with (path / "events.jsonl").open("ab") as file:
                file.write(line(event="progress", stage="unet", step=199_000 + number, total=200_000, remaining=5.0))
        panel.host.process_events(0.1)
    panel.wait(lambda: panel.row("jobs", many[0])["Progress"] == 100)
    shutil.rmtree(many[-1])
    panel.wait(lambda: len(panel.home.jobs.table.row_keys()) == JOBS - 1)
    longest = heartbeat.stop()
    print(f"the event loop was at work for {heartbeat.busiest:.3f} s, blocked for {heartbeat.blocked:.3f} s at most")
    assert longest < LONGEST_GAP
    chart = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")[0]
    figures = (many[-2] / "events.jsonl").read_bytes().count(b'"metrics"')
    assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == figures > 5000
