"""One line for each figure that a benchmark promises: what was measured, what it may be, and whether it is."""

from __future__ import annotations

import json
import os

RECORD = "BENCHMARK_RECORD"  # environment variable: a file that gets every line as JSON too


def row(name: str, value: float, most: float | None = None, least: float | None = None) -> bool:
    """Print the line and return whether the promise is kept; without a limit the figure is only told."""
    good = (most is None or value <= most) and (least is None or value >= least)
    limits = [f"at most {most}"] * (most is not None) + [f"at least {least}"] * (least is not None)
    verdict = f"  ({', '.join(limits)})  {'ok' if good else 'MISSED'}" if limits else ""
    print(f"{name:56} {value:8.3f}{verdict}", flush=True)
    if RECORD in os.environ:
        with open(os.environ[RECORD], "a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "value": value, "limits": ", ".join(limits), "good": good}) + "\n")
    return good


def load() -> str:
    """How busy the computer is with other things, which every figure depends on."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
