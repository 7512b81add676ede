"""One line for each result of a benchmark: the measured value, its limit, and whether it is within the limit."""

from __future__ import annotations

import json
import os

RECORD = "BENCHMARK_RECORD"  # environment variable: a file that gets every line as JSON too


def row(name: str, value: float, most: float | None = None, least: float | None = None) -> bool:
    """Print the line and return whether the value is within its limits; without limits it is only reported."""
    good = (most is None or value <= most) and (least is None or value >= least)
    limits = [f"at most {most}"] * (most is not None) + [f"at least {least}"] * (least is not None)
    verdict = f"  ({', '.join(limits)})  {'ok' if good else 'MISSED'}" if limits else ""
    print(f"{name:56} {value:8.3f}{verdict}", flush=True)
    if RECORD in os.environ:
        with open(os.environ[RECORD], "a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "value": value, "limits": ", ".join(limits), "good": good}) + "\n")
    return good


def load() -> str:
    """The load of the computer, on which every result depends."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
