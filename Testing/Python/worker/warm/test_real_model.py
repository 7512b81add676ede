"""A worker with a real network: how fast the next image is predicted, whose weights it keeps, and its memory."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.devices import Board
from MedDeepLib.jobs import Job, JobFolder, State, WarmWorkers
from scipy import stats
from toy_cases import SPACING, image_item, toy_affine, toy_image
from warm_plays import finish, last_state, phases

MOST_OF_THE_FIRST = 0.05  # a warm job takes 0.005 of the time of a first one, which imports torch and MONAI
JOBS = 24
WARM_UP = 6  # until the allocator has reserved what a job needs


@pytest.fixture(scope="module")
def real_workers():
    """Shared by the tests below, since importing torch and MONAI takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        workers = WarmWorkers(background=False)
        yield workers
        workers.close()


@pytest.fixture
def request_for(tmp_path, toy_dataset, toy_run):
    """Makes folders of jobs that apply the toy model to a toy image."""
    count = 0

    def make(image: Path | None = None, model: Path | None = None, **parameters) -> JobFolder:
        nonlocal count
        count += 1
        item = image_item(tmp_path / f"{count}.seg.nrrd", image or toy_dataset.parent / "image5.nii.gz")
        job = Job("segment", "apply", "", parameters, model=str(model or toy_run), items=(item,), device="cpu")
        return JobFolder.create(tmp_path / f"job{count}", job)

    return make


def until_predicting(workers: WarmWorkers, folder: JobFolder) -> float:
    """Seconds from the request to the first event of applying the model."""
    began = time.time()
    events = finish(workers.submit(folder))
    return next(e["time"] for e in events if e.get("phase", "").startswith("Applying")) - began


@pytest.mark.alone
def test_from_request_to_predicting(start, real_workers, request_for):
    first = until_predicting(start(background=False), request_for())
    until_predicting(real_workers, request_for())
    warm = float(np.median([until_predicting(real_workers, request_for()) for _ in range(7)]))
    print(f"first job: {first:.2f} s, warm: {warm:.3f} s, ratio {warm / first:.4f}")
    assert warm < MOST_OF_THE_FIRST * first


def test_other_options_need_no_other_weights(real_workers, request_for):
    tiles, pids = [], set()
    for parameters in ({}, {"overlap": 0.75}, {}):
        job = real_workers.submit(request_for(**parameters))
        events = finish(job)
        assert job.state is State.DONE and Path(job.folder.job().items[0].output).is_file()
        assert not tiles or phases(events)[:2] == ["Starting", "Reading image5.nii.gz"]
        tiles.append(next(event["total"] for event in events if event["event"] == "progress"))
        pids.add(job.pid)
        assert Board().tickets() == [], "it holds no device between two jobs"
    assert len(pids) == 1
    assert tiles[0] == tiles[2] < tiles[1], "each has had its own options"
    refused = real_workers.submit(request_for(flips=True))
    assert "trained without mirrored images" in last_state(finish(refused))["message"]


def test_the_last_model_takes_the_place_of_the_one_before(real_workers, request_for, toy_run, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(toy_run, copied)
    finish(real_workers.submit(request_for()))
    jobs = [real_workers.submit(request_for())]
    loading = ["Loading the model" in phases(finish(jobs[-1]))]
    for run in (copied, toy_run, copied, copied):
        jobs.append(real_workers.submit(request_for(model=run)))
        loading.append("Loading the model" in phases(finish(jobs[-1])))
    assert loading == [False, True, True, True, False]
    assert len({job.pid for job in jobs}) == 1
    summaries = [job.folder.result()["outputs"][0]["summary"] for job in jobs]
    assert all(summary == summaries[0] for summary in summaries)

    weights = Path("model") / "models" / "model.pt"
    shutil.copyfile(toy_run / weights, copied / weights)
    changed = real_workers.submit(request_for(model=copied))
    assert "Loading the model" in phases(finish(changed)), "the file has been written anew"


def test_bad_images_and_models_cost_only_their_own_job(real_workers, request_for, tmp_path, toy_run):
    broken = tmp_path / "broken"
    shutil.copytree(toy_run, broken)
    (broken / "model" / "models" / "model.pt").write_bytes(b"nonsense")
    (tmp_path / "no.nrrd").write_text("not an image", encoding="utf-8")
    pids = set()
    for folder, words in (
        (request_for(image=tmp_path / "no.nrrd"), "no.nrrd"),
        (request_for(model=broken), "file is damaged"),
        (request_for(model=tmp_path / "nowhere"), "There is no model"),
        (request_for(), None),
    ):
        job = real_workers.submit(folder)
        state = last_state(finish(job))
        pids.add(job.pid)
        assert (job.exit_code, state["state"]) == ((2, "failed") if words else (0, "done")), state
        assert words is None or words in state["message"]
    assert len(pids) == 1


@pytest.mark.alone
def test_memory_does_not_grow_over_many_jobs(real_workers, request_for, tmp_path):
    """No job leaves its image behind: resident memory varies by tens of MiB, but has no trend.

    The image is fine, so that it is large for the worker and small for the network.
    """
    image, _ = toy_image(0)
    fine = np.kron(image, np.ones((4, 4, 4), np.float32))
    write_image(tmp_path / "fine.nrrd", fine, toy_affine(np.array(SPACING) / 4), compress=False)
    resident = []
    for _ in range(JOBS):
        job = real_workers.submit(request_for(tmp_path / "fine.nrrd"))
        finish(job)
        assert job.state is State.DONE
        resident.append(psutil.Process(job.pid).memory_info().rss)
    slope, error = slope_and_error(np.array(resident[WARM_UP:], float))
    mebi = 2**20
    print(f"{slope / mebi:.2f} +- {error / mebi:.2f} MiB a job; one image has {fine.nbytes / mebi:.1f} MiB")
    assert error < fine.nbytes / 4, "too much noise to say anything"
    assert slope + 2 * error < fine.nbytes / 2


def slope_and_error(values: np.ndarray) -> tuple[float, float]:
    """The median slope over all pairs of points (Theil-Sen), and its standard error from their scatter."""
    steps = np.arange(len(values))
    slope = stats.theilslopes(values, steps)[0]
    scatter = 1.4826 * stats.median_abs_deviation(values - slope * steps)
    return float(slope), float(scatter / np.sqrt(((steps - steps.mean()) ** 2).sum()))


def test_what_a_job_would_leave_behind_is_seen_in_the_noise():
    random = np.random.default_rng(0)
    size = 7 * 2**20
    for _ in range(50):
        noise = random.uniform(0, 40 * 2**20, JOBS - WARM_UP)
        still, error = slope_and_error(noise)
        growing, _ = slope_and_error(noise + size * np.arange(len(noise)))
        assert error < size / 4 and still + 2 * error < size / 2 < growing
