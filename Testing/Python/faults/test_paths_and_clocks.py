"""Folders with long and non-ASCII names, and clocks that jump while a job runs."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest
from fault_tools import SETTINGS, identical, last_state, script, training_job, write_sitecustomize
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.data.sources.labels import read_segmentation
from MedDeepLib.jobs import JobFolder, State, launch
from MedDeepLib.jobs.folder import own_identity, process_alive
from toy_cases import toy_affine, toy_image

ODD = "Fälle & Läufe (脳) 'ß' 100%"


def long_folder(tmp_path: Path) -> Path:
    """A folder with unusual names and a path of at least 200 characters."""
    folder = tmp_path / ODD
    while len(str(folder)) < 200:
        folder = folder / "ein ziemlich langer Ordner für Bilder"[: max(8, 200 - len(str(folder)))].strip()
    return folder


@pytest.mark.slow
@pytest.mark.slow
def test_odd_and_long_names_everywhere(undisturbed, tmp_path, tally):
    root = long_folder(tmp_path)
    data = root / "Données"
    shutil.copytree(undisturbed.dataset.parent, data)
    content = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    for split in ("training", "validation", "test"):
        for entry in content[split]:
            for key in ("image", "label"):
                (data / entry[key]).rename(data / f"Bild é {entry[key]}")
                entry[key] = f"Bild é {entry[key]}"
            entry["patient"] = f"Müller, {entry['patient']}"
    (data / "Liste ü.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (data / "dataset.json").unlink()
    run = root / "Lauf № 1"
    flags = []
    for key, value in SETTINGS.items():
        flags += ["--set", f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}"]
    limits = ("--device", "cpu", "--threads", "1")
    where = ("--dataset", data / "Liste ü.json", "--method", "unet", "--output", run, "--seed", "3")
    train = script("train", *where, *limits, *flags, cwd=root)
    assert train.returncode == 0, train.stderr
    assert identical(run, undisturbed.run), "names change nothing"
    manifest = (run / "manifest.json").read_text(encoding="utf-8")
    assert "ller" not in manifest and "Bild" not in manifest

    voxels, _ = toy_image(9)
    write_image(data / "Kopf 𝛼.nii.gz", voxels, toy_affine())
    outputs = root / "Ergebnisse –"
    inputs = ("--model", run, "--input", data / "Kopf 𝛼.nii.gz", "--output", f"{outputs}/")
    apply = script("apply", *inputs, *limits, cwd=root)
    assert apply.returncode == 0, apply.stderr
    labels, _, _ = read_segmentation(outputs / "Kopf 𝛼.seg.nrrd")
    assert labels.shape == voxels.shape

    report = outputs / "Zahlen ½.csv"
    evaluate = script("evaluate", "--model", run, "--dataset", data / "Liste ü.json", "--output", report, *limits)
    assert evaluate.returncode == 0, evaluate.stderr
    with report.open(newline="", encoding="utf-8") as file:
        assert {row["patient"] for row in csv.DictReader(file)} == {"Müller, P5"}
    assert f"Wrote {report}" in evaluate.stdout
    tally(f"train, apply and evaluate in a folder whose path has {len(str(root))} characters")


# --- clocks -----------------------------------------------------------------------------------------------------------

JUMPS = (7200, -18000, 0, 10**8)
CLOCK = f"""
import time as _time

_now, _began = _time.time, _time.monotonic()
_jump = lambda: {JUMPS}[int((_time.monotonic() - _began) * 2) % {len(JUMPS)}]
_time.time = lambda: _now() + _jump()
try:  # systems whose beginning of the computer moves with the clock, and so that of every process
    import psutil, psutil._pslinux
except ImportError:
    pass
else:
    _boot = psutil._pslinux.boot_time
    psutil.boot_time = psutil._pslinux.boot_time = lambda: _boot() + _jump()
"""


@pytest.mark.slow
def test_a_clock_that_jumps_back_and_forth_changes_nothing(undisturbed, tmp_path, monkeypatch, tally):
    """The clocks of worker and launcher jump twice a second, by hours and by years."""
    write_sitecustomize(monkeypatch, tmp_path, CLOCK)
    monkeypatch.setenv("MEDDEEP_SILENCE_SECONDS", "120")
    folder = JobFolder.create(tmp_path / "run", training_job(undisturbed.dataset))
    now, began = time.time, time.monotonic()
    jumps = iter(JUMPS * 1000)
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    job = launch(folder)
    events: list[dict] = []
    while job.is_running():
        events += job.poll()
        assert job.state in (State.RUNNING, State.QUEUED) or not job.is_running()
        time.sleep(0.02)
        assert time.monotonic() - began < 240
    events += job.poll()
    assert last_state(events)["state"] == "done", last_state(events)
    assert not [event for event in events if event.get("silent")]
    stage = [event for event in events if event["event"] == "progress" and event.get("stage")]
    assert stage and all(0 <= event["remaining"] < 600 for event in stage)
    assert [event["step"] for event in stage] == sorted(event["step"] for event in stage)
    moments = [event["time"] for event in events]
    assert max(moments) - min(moments) > 10**7, "the clock did jump"
    usage = folder.result()["usage"]
    assert 0 < usage["seconds"] < 240
    same = identical(folder.path, undisturbed.run)
    tally(f"{len(moments)} events under a jumping clock, weights identical: {same}")
    assert same


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="imitates how Linux tells when a process began")
@pytest.mark.parametrize("jump", [7200, -7200, 10**8])
def test_a_living_process_stays_alive_and_a_dead_one_dead_when_the_clock_is_set(monkeypatch, jump):
    import subprocess

    identity = own_identity()
    other = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    began = psutil.Process(other.pid).create_time()
    child = (other.pid, began, began - psutil.boot_time())
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + jump)
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot + jump)
    assert abs(psutil.Process(other.pid).create_time() - began - jump) < 1, "the clock was set"
    assert process_alive(*identity.values()) and process_alive(*child)
    assert not process_alive(identity["pid"], identity["started"] - 500, identity["after_boot"] - 500)
    other.kill()
    other.wait()
    assert not process_alive(*child)
