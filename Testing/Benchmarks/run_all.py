"""All benchmarks on one device, with the results as one table in Markdown.

    python Testing/Benchmarks/run_all.py --device cuda [--output table.md]

Needs the packages of Testing/requirements.txt and, for the benchmarks of the demonstration's model, a ``make demo``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_WITHOUT_DEVICE = {"benchmark_panel"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--output", type=Path, help="write the table there as well")
    parser.add_argument("--only", nargs="*", help="names of benchmarks, e.g. engine large")
    options = parser.parse_args()
    scripts = sorted(_HERE.glob("benchmark_*.py"))
    if options.only:
        scripts = [script for script in scripts if script.stem.removeprefix("benchmark_") in options.only]
    rows, failed = [], []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for script in scripts:
            record = Path(folder) / f"{script.stem}.jsonl"
            print(f"== {script.name}", flush=True)
            if _run(script, options.device, record) != 0:
                failed.append(script.stem)
            if record.exists():
                lines = record.read_text(encoding="utf-8").splitlines()
                rows += [(script.stem.removeprefix("benchmark_"), json.loads(line)) for line in lines]
    table = _table(rows)
    print(table)
    if options.output:
        options.output.write_text(table, encoding="utf-8")
    if failed:
        print(f"Missed a figure, or did not run: {', '.join(failed)}")
    return 1 if failed else 0


def _run(script: Path, device: str, record: Path) -> int:
    path = os.pathsep.join(str(_ROOT / name) for name in ("MedDeepExtension", "SegmentModule", "Testing"))
    environment = dict(os.environ, BENCHMARK_RECORD=str(record), PYTHONPATH=path)
    arguments = [] if script.stem in _WITHOUT_DEVICE else ["--device", device]
    return subprocess.run([sys.executable, str(script), *arguments], env=environment).returncode


def _table(rows: list[tuple[str, dict]]) -> str:
    sys.path.insert(0, str(_ROOT / "MedDeepExtension"))
    from MedDeepLib.devices import list_devices

    lines = [f"Devices: {', '.join(device.name for device in list_devices())}", ""]
    lines += ["| benchmark | figure | value | promised | |", "|---|---|---:|---|---|"]
    for benchmark, entry in rows:
        kept = ("ok" if entry["good"] else "MISSED") if entry["limits"] else ""
        lines.append(f"| {benchmark} | {entry['name']} | {entry['value']:.3f} | {entry['limits']} | {kept} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
