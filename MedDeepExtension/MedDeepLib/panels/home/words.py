"""Jobs and models in words, for the tables and the details of the home panel."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from slicer.i18n import tr as _

from MedDeepLib.jobs import Job, State
from MedDeepLib.jobs.models import ModelEntry, Origin
from MedDeepLib.jobs.summary import Overview, Summary
from MedDeepLib.jobs.words import in_words
from MedDeepLib.panels.status import breakable, remaining_in_words

_GIGABYTE = 1e9
_MEGABYTE = 1e6
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_")


def state_in_words(job: Overview) -> str:
    """Running, waiting, done..."""
    if job.state is State.QUEUED:
        return _("waiting") if job.alive else _("not begun")
    return {
        State.RUNNING: _("running"),
        State.STOPPING: _("stopping"),
        State.STOPPED: _("stopped"),
        State.FAILED: _("failed"),
        State.DONE: _("done"),
    }[job.state]


def without_date(text: str) -> str:
    """The name without its leading timestamp, which would fill the column."""
    return _MOMENT.sub("", text)


def title_of(job: Overview) -> str:
    """What it does, in two words."""
    return job.title if job.job is not None else _("cannot be read")


def left_in_words(job: Overview) -> str:
    """The time left, in short; empty if unknown."""
    return "" if job.seconds_left is None else in_words(job.seconds_left)


def moment_in_words(seconds: float) -> str:
    """A time, as short as possible: 14:05, 22 Nov 14:05, 2025-11-22."""
    moment, now = datetime.fromtimestamp(seconds), datetime.now()
    if moment.date() == now.date():
        return f"{moment:%H:%M}"
    return f"{moment:%d %b %H:%M}" if moment.year == now.year else f"{moment:%Y-%m-%d}"


def exact_moment(seconds: float) -> str:
    """A date and a time of day."""
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def size_in_words(size: float) -> str:
    """Bytes in readable units."""
    if size < _GIGABYTE:
        return _("{size:.0f} MB").format(size=size / _MEGABYTE)
    return _("{size:.1f} GB").format(size=size / _GIGABYTE)


def job_details(job: Overview, summary: Summary, resources: dict[str, Any], usage: dict[str, Any]) -> str:
    """All details of a job, as HTML."""
    lines = [(_("State"), _with_progress(job, summary))]
    lines += [(_("Begun"), exact_moment(job.begun))]
    lines += [(_("Problem"), _strong(text)) for text in (job.problem, _failure(job)) if text]
    if job.job is not None:
        lines += _request(job.job, resources)
    lines += [(_("Warning"), _escaped(text)) for text in summary.warnings]
    metrics = [f"{name} {value:.4g}" for name, value in summary.metrics.items()]
    lines += [(_("Last metrics"), _escaped(", ".join(metrics)))] if metrics else []
    lines += [(_("Last message"), _escaped(summary.message))] if summary.message else []
    lines += [(_("Used"), _escaped(", ".join(_usage(usage))))] if usage else []
    lines.append((_("Folder"), _escaped(str(job.folder.path))))
    return _page(f"{title_of(job)} - {job.folder.path.name}", lines)


def model_details(model: ModelEntry) -> str:
    """All details of a model, as HTML."""
    if model.problem:
        return _page(model.title, [(_("Damaged"), _strong(model.problem)), (_("Folder"), _escaped(str(model.folder)))])
    lines = [
        (_("Task"), _escaped(model.task)),
        (_("Needs"), _escaped(model.needs)),
        *([(_("Classes"), _escaped(", ".join(model.labels)))] if model.labels else []),
        (_("Trained on"), _escaped(model.data)),
        (_("Metrics"), _escaped(metrics_in_words(model) or _("none are known"))),
        (_("Made"), _escaped(made_in_words(model))),
        *((_("Asks for more"), _strong(text)) for text in model.asks),
        (_("Folder"), _escaped(str(model.folder))),
    ]
    return _page(model.title, lines)


def metrics_in_words(model: ModelEntry) -> str:
    """Its validation, in short."""
    return ", ".join(f"{name} {value:.3g}" for name, value in model.metrics)


def origin_in_words(model: ModelEntry) -> str:
    """The run that trained it, or its other origin."""
    if model.origin is Origin.RELEASED:
        return _("comes with the extension")
    return without_date(model.name) if model.origin is Origin.RUN else _("imported")


def made_at(model: ModelEntry) -> float:
    """When it was made (seconds since 1970); 0 if unknown."""
    try:
        return datetime.fromisoformat(model.date).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def made_in_words(model: ModelEntry) -> str:
    """When and on which device."""
    moment = exact_moment(made_at(model)) if made_at(model) else _("at an unknown time")
    return _("{moment} on {device}").format(moment=moment, device=model.made_on) if model.made_on else moment


def _with_progress(job: Overview, summary: Summary) -> str:
    parts = [state_in_words(job)]
    if job.alive and summary.phase and job.state is not State.QUEUED:
        parts.append(summary.phase)
    if job.progress is not None and job.state is not State.DONE and (summary.counts or not job.alive):
        progress = job.progress
        if "fold" in progress:
            parts.append(_("fold {fold} of {folds}").format(fold=progress["fold"], folds=progress["folds"]))
        parts.append(_("{step} of {total}").format(step=progress["step"], total=progress["total"]))
    if job.seconds_left is not None:
        parts.append(remaining_in_words(job.seconds_left))
    if job.state is State.QUEUED and job.reason:
        parts.append(job.reason)
    return _escaped("; ".join(parts))


def _failure(job: Overview) -> str:
    return job.reason if job.state is State.FAILED else ""


def _request(job: Job, resources: dict[str, Any]) -> list[tuple[str, str]]:
    device = job.device
    if resources.get("device"):
        threads = resources.get("threads", 0)
        words = _("{device}, 1 thread") if threads == 1 else _("{device}, {threads} threads")
        device = words.format(device=resources["device"], threads=threads)
        if job.device != resources["device"]:
            device += _(" (asked for: {request})").format(request=job.device)
    lines = [(_("Device"), _escaped(device))]
    if job.dataset:
        lines.append((_("Dataset"), _escaped(job.dataset)))
    if job.model:
        lines.append((_("Model"), _escaped(job.model)))
    return lines


def _usage(usage: dict[str, Any]) -> list[str]:
    words = {
        "seconds": _("{amount} in all"),
        "processor_seconds": _("{amount} of CPU time"),
        "device_seconds": _("{amount} on the device"),
        "resident_bytes": _("{amount} of memory"),
        "device_bytes": _("{amount} of the device's memory"),
    }
    parts = []
    for name, sentence in words.items():
        value = usage.get(name)
        if isinstance(value, int | float):
            amount = size_in_words(value) if name.endswith("bytes") else in_words(value)
            parts.append(sentence.format(amount=amount))
    return parts


def _page(title: str, lines: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><td style="color:gray;padding-right:8px">{_escaped(name)}</td><td>{text}</td></tr>'
        for name, text in lines
    )
    return f"<b>{_escaped(title)}</b><table cellspacing=0 cellpadding=1>{rows}</table>"


def _escaped(text: str) -> str:
    return html.escape(breakable(str(text)))


def _strong(text: str) -> str:
    return f'<span style="color:#c0392b">{_escaped(text)}</span>'
