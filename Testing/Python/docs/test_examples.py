"""The examples in docs/ work unchanged; links and paths in the documents exist."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import toy_commands

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
LISTED = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True)
DOCUMENTS = sorted(ROOT / name for name in LISTED.stdout.decode().splitlines()) or sorted(DOCS.glob("*.md"))
SMALL = {"steps": 3, "validate_every": 2, "batch_size": 1, "patch_size": "16,16,16", "spacing": "2,2,2.5"}
_FILE = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SOURCES = ("MedDeepExtension", "SegmentModule", "RegisterModule", "DetectModule", "ClassifyModule")
_PATH = re.compile(rf"`((?:{'|'.join(_SOURCES)}|Testing)/[\w./-]+)`")
_MODULE = re.compile(r"\b((?:MedDeepLib|(?:Segment|Register|Detect|Classify)ModuleLib)(?:\.\w+)+)")


def write_files(document: str, folder: Path) -> list[Path]:
    """Write the files that a document shows below ``folder``."""
    written = []
    for name, content in _FILE.findall((DOCS / document).read_text(encoding="utf-8")):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {name}\n{content}", encoding="utf-8")
        written.append(file)
    return written


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command line of a task with the documents' files in its folders; the worker is in this process."""
    files = write_files("adding-a-method.md", tmp_path) + write_files("adding-a-task.md", tmp_path)
    assert len(files) >= 4
    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(toy_commands, "TASKS", tmp_path / "tasks")
        monkeypatch.setenv("MEDDEEP_METHODS", str(tmp_path / "methods"))

        def run(task: str, *arguments) -> str:
            code, shown, errors = commands[task](*arguments)
            assert code == 0, errors
            return shown

        runs = tmp_path / "runs"
        tasks = ("segment", "grading")
        commands = {
            task: stack.enter_context(toy_commands.toy_command(task, monkeypatch, runs, capsys)) for task in tasks
        }
        yield run
    for name in [name for name in sys.modules if name.startswith(("GradingModuleLib", "meddeep_own_methods_"))]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["tinynet", "voxels"])
def test_the_methods_are_trained_applied_and_evaluated(name, command, toy_dataset, tmp_path):
    help = command("segment", "methods", name)
    run, output, report = tmp_path / "run", tmp_path / "output.seg.nrrd", tmp_path / "report.csv"
    known = {key: value for key, value in SMALL.items() if re.search(rf"^\W*{key}\b", help, re.MULTILINE)}
    settings = [part for key, value in known.items() for part in ("--set", f"{key}={value}")]
    on_cpu = ("--device", "cpu", "--threads", "1")
    command("segment", "train", "--dataset", toy_dataset, "--method", name, "--output", run, *settings, *on_cpu)
    image = toy_dataset.with_name("image5.nii.gz")
    command("segment", "apply", "--model", run, "--input", image, "--output", output, *on_cpu)
    assert output.stat().st_size
    shown = command("segment", "evaluate", "--model", run, "--dataset", toy_dataset, "--output", report, *on_cpu)
    assert "dice" in shown.lower() and report.stat().st_size


@pytest.fixture
def patients(tmp_path) -> Path:
    """Twenty patients whose grade follows from the size of the tumour."""
    random = np.random.default_rng(1)
    rows = ["split,features,age,grade,patient,site"]
    for number in range(20):
        high = number % 2
        (tmp_path / f"{number}.csv").write_text(
            f"diameter,uptake\n{20 + 15 * high + random.normal():.2f},{random.normal():.2f}\n", encoding="utf-8"
        )
        split = "test" if number >= 14 else "training"
        rows.append(f"{split},{number}.csv,{50 + number},{'high' if high else 'low'},p{number},{'AB'[number % 3 % 2]}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "cohort.csv"


def test_the_task_is_trained_applied_and_evaluated(command, patients, tmp_path):
    run, answer, report = tmp_path / "run", tmp_path / "answer.json", tmp_path / "report.csv"
    on_cpu = ("--device", "cpu", "--threads", "1")
    command("grading", "train", "--dataset", patients, "--method", "centroid", "--output", run, *on_cpu)
    inputs = ("--features", patients.with_name("0.csv"), "--age", 50)
    command("grading", "apply", "--model", run, *inputs, "--output-answer", answer, *on_cpu)
    assert json.loads(answer.read_text(encoding="utf-8"))["grade"] == "low"
    command("grading", "evaluate", "--model", run, "--dataset", patients, "--output", report, *on_cpu)
    with report.with_name("report.summary.csv").open(newline="", encoding="utf-8") as file:
        *_, line = csv.DictReader(file)
    assert float(line["auc"]) == 1.0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(document):
    text = _FENCED.sub("", document.read_text(encoding="utf-8"))
    dead = [
        link
        for link in _LINK.findall(text)
        if not re.match(r"[a-z]+:", link) and not (document.parent / unquote(link.partition("#")[0])).exists()
    ]
    assert not dead, f"{document.name} links to {dead}"


def _is_module(dotted: str) -> bool:
    """Whether a name is a module, or an attribute of one."""

    def found(parts: list[str]) -> bool:
        path = "/".join(parts)
        return any((ROOT / source / f"{path}{end}").exists() for source in _SOURCES for end in (".py", "/__init__.py"))

    parts = dotted.split(".")
    return any(found(parts[:length]) for length in range(max(1, len(parts) - 2), len(parts) + 1) if length > 1)


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda file: file.name)
def test_paths_and_modules_exist(document):
    text = document.read_text(encoding="utf-8")
    missing = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    missing += [name for name in _MODULE.findall(text) if not _is_module(name)]
    assert not missing, f"{document.name} names {missing}"
