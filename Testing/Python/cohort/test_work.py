"""One case of a cohort: computed once, and again only when something that it depends on has changed."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from MedDeepLib.bundles.model import open_model
from MedDeepLib.cohort import work
from MedDeepLib.cohort.driver import _request
from MedDeepLib.cohort.record import STOP_FILE, Record
from MedDeepLib.data.sources.image import read_image, write_image
from MedDeepLib.jobs import Job
from MedDeepLib.jobs.items import to_json
from toy_cases import image_item, toy_affine, toy_image
from toy_cohort import dice_of_bright_ball, write_scans


@pytest.fixture
def case(toy_run, tmp_path):
    """A function that applies the model to one image; the worker's cached model is dropped afterwards."""
    (image,) = write_scans(tmp_path / "scans", 1)
    output = tmp_path / "out" / "case100.seg.nrrd"
    output.parent.mkdir()

    def apply(**parameters) -> dict:
        job = Job("segment", "cohort", parameters=parameters, model=str(toy_run), inputs="-", output="-")
        request = _request(job, open_model(toy_run, "segment"))
        place = {"device": "cpu", "threads": 1, "item": to_json(image_item(output, image))}
        return work.do_case(request | place)

    apply.image, apply.output = image, output
    yield apply
    work._seat.release()


def written(output) -> tuple[int, bytes]:
    return output.stat().st_mtime_ns, output.read_bytes()


def test_a_finished_case_is_not_touched(case):
    first = case()
    assert first["state"] == "done" and first["unit"] == "ml"
    assert dice_of_bright_ball(case.output, 100) > 0.75
    before = written(case.output)
    again = case()
    assert again["state"] == "kept" and written(case.output) == before
    assert again["summary"] == first["summary"] and again["seconds"] == first["seconds"]


def test_a_case_done_in_this_run_counts_as_done(case, monkeypatch):
    """A case counts as done even if its worker ended before it could report that."""
    monkeypatch.setattr("MedDeepLib.cohort.driver.uuid.uuid4", lambda: uuid.UUID(int=1))
    first = case()
    again = case()
    assert again["state"] == "done" and again["finished"] == first["finished"]
    assert Record(case.output).result_of(uuid.UUID(int=1).hex)["summary"] == first["summary"]
    assert Record(case.output).result_of("another run") is None


def test_what_does_not_matter_to_the_result_changes_nothing(case):
    case()
    assert case(tile_batch=4)["state"] == "kept"
    assert case(overlap=0.5)["state"] == "done"


def test_another_input_is_computed_anew(case):
    first = case()
    write_image(case.image, toy_image(101)[0], toy_affine())
    again = case()
    assert again["state"] == "done" and again["summary"] != first["summary"]
    assert dice_of_bright_ball(case.output, 101) > 0.75
    assert not list(case.output.parent.glob("*kept*")), "an old result of ours is no loss"


def test_another_program_computes_anew(case, monkeypatch):
    case()
    monkeypatch.setattr("MedDeepLib.cohort.driver.program_hash", lambda task: "another")
    assert case()["state"] == "done"


@pytest.mark.parametrize("damage", [b"", b"half a file"])
def test_a_damaged_output_is_computed_anew(case, damage):
    case()
    good = read_image(case.output).array
    case.output.write_bytes(damage)
    assert case()["state"] == "done" and np.array_equal(read_image(case.output).array, good)
    case.output.unlink()
    assert case()["state"] == "done" and np.array_equal(read_image(case.output).array, good)
    assert not list(case.output.parent.glob("*kept*"))


def test_what_someone_has_corrected_is_not_lost(case):
    case()
    corrected = read_image(case.output)
    write_image(case.output.with_name("x.nrrd"), np.zeros(corrected.shape, np.uint8), corrected.affine)
    case.output.with_name("x.nrrd").replace(case.output)
    bytes_of_hand = case.output.read_bytes()
    again = case()
    assert again["state"] == "done" and "case100.kept1.seg.nrrd" in again["warnings"][0]
    assert (case.output.parent / "case100.kept1.seg.nrrd").read_bytes() == bytes_of_hand
    assert case()["state"] == "kept"


def test_a_death_at_any_moment_loses_nothing(case, monkeypatch):
    """Killed twice between writing the record and its output: the next run computes the case, with no kept copies."""
    from MedDeepLib.cohort import record

    case()
    write_image(case.image, toy_image(101)[0], toy_affine())
    for number in (101, 102):
        write_image(case.image, toy_image(number)[0], toy_affine())
        with monkeypatch.context() as patch:
            patch.setattr(record.os, "replace", dying(record.os.replace, case.output))
            with pytest.raises(KeyboardInterrupt):
                case()
    assert case()["state"] == "done" and not list(case.output.parent.glob("*kept*"))
    assert dice_of_bright_ball(case.output, 102) > 0.75


def dying(replace, output):
    def replaced(source, target):
        if str(target) == str(output):
            raise KeyboardInterrupt
        replace(source, target)

    return replaced


def test_a_bad_image_is_said_in_a_sentence(case):
    case.image.write_bytes(b"no image")
    outcome = case()
    assert outcome["state"] == "failed" and str(case.image) in outcome["reason"] and not case.output.exists()
    case.image.unlink()
    assert "does not exist" in case()["reason"]


def test_a_stopped_cohort_begins_no_case(case):
    (case.output.parent / ".cohort").mkdir()
    (case.output.parent / ".cohort" / STOP_FILE).touch()
    assert case()["state"] == "stopped" and not case.output.exists()


def test_the_model_is_loaded_once_and_given_back(case):
    assert case()["loaded"]
    assert not case(overlap=0.5)["loaded"]
    work._seat.release()
    assert case(overlap=0.4)["loaded"]


def test_a_record_of_another_version_counts_for_nothing(case):
    case()
    record = Record(case.output)
    record._file.write_text("{", encoding="utf-8")
    assert case()["state"] == "done"
