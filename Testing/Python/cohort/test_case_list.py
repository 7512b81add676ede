"""The case list of a cohort: as users and spreadsheets write it, and with everything that can be wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from MedDeepLib.cohort.case_list import read_cases
from MedDeepLib.core import registry
from MedDeepLib.errors import UserError


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "list.csv"
    file.write_bytes(text.encode(encoding))
    return file


def read(source: Path, channels=("T1",)) -> list:
    return cases_of(source, source.parent / "out", channels)


def cases_of(source: Path, output: Path, channels=("T1",), task: str = "segment") -> list:
    task = registry.task(task)
    endings = {slot: ".seg.nrrd" if slot.kind == "labels" else ".h5" for slot in task.outputs}
    return read_cases(source, task.applied, channels, output, endings)


def images(case) -> list[str]:
    return [str(file) for file in case.inputs["image"].files]


def refused(source: Path, channels=("T1",)) -> str:
    with pytest.raises(UserError) as error:
        read(source, channels)
    return str(error.value)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_list_with_names_and_patients(tmp_path):
    cases = read(write(tmp_path, "patient,image,case\nP1,a.nii.gz,anna\nP2,/data/b.nrrd,\n"))
    assert [(case.line, case.name, case.patient) for case in cases] == [(2, "anna", "P1"), (3, "b", "P2")]
    assert images(cases[0]) == [str(tmp_path / "a.nii.gz")] and Path(images(cases[1])[0]) == Path("/data/b.nrrd")
    assert cases[0].output == str(tmp_path / "out" / "anna.seg.nrrd") and not cases[0].problem


@pytest.mark.parametrize("header", ["image,image2", "T1,T2", "image,t2"])
def test_a_column_for_each_channel(tmp_path, header):
    (case,) = read(write(tmp_path, f"{header}\na1.nrrd,a2.nrrd\n"), ("T1", "T2"))
    assert [Path(image).name for image in images(case)] == ["a1.nrrd", "a2.nrrd"] and case.name == "a1"


def test_what_spreadsheets_write(tmp_path):
    excel = read(write(tmp_path, "\ufeffImage;Patient\r\nm\u00fcller.nii;M\u00fcller\r\n;\r\n", "utf-8"))
    assert [(case.name, case.patient) for case in excel] == [("m\u00fcller", "M\u00fcller")]
    old = read(write(tmp_path, "image;patient\r\nm\u00fcller.nii;M\u00fcller\r\n", "cp1252"))
    assert [(case.name, case.patient) for case in old] == [("m\u00fcller", "M\u00fcller")]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "is empty"),
        ("image\n", "names no case"),
        ("scan\na.nrrd\n", "unknown column 'scan'"),
        ("case\na\n", "lacks the column 'image'"),
        ("image,image\na.nrrd,b.nrrd\n", "'image' twice"),
        ("image,t1\na.nrrd,b.nrrd\n", "has both 'image' and 't1'"),
        ("image,image2\na.nrrd,b.nrrd\n", "unknown column 'image2'"),
    ],
)
def test_a_list_that_cannot_be_meant(tmp_path, text, words):
    sentence = refused(write(tmp_path, text))
    assert words in sentence and str(tmp_path / "list.csv") in sentence


def test_a_missing_channel_is_named(tmp_path):
    sentence = refused(write(tmp_path, "image\na.nrrd\n"), ("T1", "T2"))
    assert "lacks the column 'image2'" in sentence and "2 images per case (T1, T2)" in sentence


def test_bad_rows_cost_only_themselves(tmp_path):
    text = "case,image\na,a.nrrd\nb,\nc,c.nrrd,more\na,other.nrrd\nagain,./a.nrrd\nd,d.nrrd\n"
    cases = read(write(tmp_path, text))
    problems = {case.line: case.problem for case in cases}
    assert not problems[2] and not problems[7] and len(cases) == 6
    assert "an empty column 'image'" in problems[3]
    assert "3 cells for 2 columns" in problems[4]
    assert "'a' is that of line 2" in problems[5] and "column 'case'" in problems[5]
    assert "duplicate of line 2" in problems[6] and [case.duplicate for case in cases].count(True) == 1


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    cases = read(write(tmp_path, "image\np1/t1.nrrd\np2/t1.nrrd\nother.nrrd\n"))
    assert [case.name for case in cases] == ["p1_t1", "p2_t1", "other"] and not any(case.problem for case in cases)


def test_names_become_names_of_files(tmp_path):
    cases = read(write(tmp_path, "case,image\n../../x:y?,a.nrrd\n..,b.nrrd\n"))
    outputs = [Path(case.output) for case in cases]
    assert all(output.parent == tmp_path / "out" for output in outputs)
    assert outputs[0].name == "_.._x_y_.seg.nrrd" and outputs[1].name == "line 3.seg.nrrd"


def test_an_image_is_never_overwritten(tmp_path):
    touch(tmp_path / "out" / "a.seg.nrrd")
    (case,) = read(write(tmp_path, "image\nout/a.seg.nrrd\n"))
    assert "would be overwritten" in case.problem


def test_no_such_list(tmp_path):
    assert "does not exist" in refused(tmp_path / "nothing.csv")


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_images(tmp_path):
    scans = tmp_path / "scans"
    touch(scans / "b.nii.gz", scans / "a.NRRD", scans / "a.seg.nrrd", scans / ".hidden.nii", scans / "notes.txt")
    (scans / "series").mkdir()
    (scans / "series" / "1").write_bytes(bytes(128) + b"DICM")
    (scans / "empty").mkdir()
    assert [case.name for case in read(scans)] == ["a", "b", "series"]


def test_a_folder_with_the_files_of_one_series_is_one_case(tmp_path):
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "1.dcm").write_bytes(b"x")
    assert [case.name for case in read(tmp_path / "scan")] == ["scan"]


def test_a_folder_with_several_channels(tmp_path):
    scans = tmp_path / "scans"
    touch(scans / "a_0000.nii.gz", scans / "a_0001.nii.gz", scans / "b_0000.nii.gz")
    first, second = read(scans, ("T1", "T2"))
    assert first.name == "a" and len(images(first)) == 2 and not first.problem
    assert second.name == "b" and "there are 1 (b_0000.nii.gz)" in second.problem
    touch(tmp_path / "other" / "a.nii.gz")
    assert "do not say which belong together" in refused(tmp_path / "other", ("T1", "T2"))


def test_an_empty_folder(tmp_path):
    (tmp_path / "scans").mkdir()
    assert "contains no readable image" in refused(tmp_path / "scans")


def test_the_results_are_no_images(tmp_path):
    scans = tmp_path / "scans"
    touch(scans / "a.nrrd", scans / "out" / "1.dcm")
    assert [case.name for case in cases_of(scans, scans / "out")] == ["a"]
    with pytest.raises(UserError, match="cannot go into the folder of the images"):
        cases_of(scans, scans)


# --- pairs ------------------------------------------------------------------------------------------------------------


def pairs(source: Path, channels=("MR",)) -> list:
    return cases_of(source, source.parent / "out", channels, "register")


def test_a_list_of_pairs(tmp_path):
    text = "fixed,moving,initial,labels,patient\nf.nrrd,m.nrrd,,,P1\nf.nrrd,n.nrrd,i.tfm,n.seg.nrrd,P2\n"
    first, second = pairs(write(tmp_path, text))
    assert [case.name for case in (first, second)] == ["f_m", "f_n"] and not first.problem and not second.problem
    assert set(first.inputs) == {"fixed", "moving"} and set(second.inputs) == {"fixed", "moving", "initial", "labels"}
    assert second.inputs["initial"].files == (tmp_path / "i.tfm",) and second.inputs["initial"].kind == "transform"
    assert first.outputs == {"transform": str(tmp_path / "out" / "f_m.h5")}
    assert second.outputs["labels"] == str(tmp_path / "out" / "f_n.labels.seg.nrrd")
    (bare,) = pairs(write(tmp_path, "moving,fixed\nm.nrrd,f.nrrd\n"))
    assert bare.name == "f_m", "the order of the columns does not matter"


def test_pairs_of_the_same_names_in_other_folders(tmp_path):
    cases = pairs(write(tmp_path, "fixed,moving\natlas/t1.nrrd,p1/t1.nrrd\natlas/t1.nrrd,p2/t1.nrrd\n"))
    assert [case.name for case in cases] == ["atlas_t1_p1_t1", "atlas_t1_p2_t1"]


def test_a_column_for_each_channel_of_both_images(tmp_path):
    text = "fixed,fixed2,moving,moving2\na,b,c,d\na,,c,e\n"
    for channels in (("T1", "T2"), ()):  # of a trained model, and of a method that defines no channels
        complete, half = pairs(write(tmp_path, text), channels)
        assert [len(complete.inputs[side].files) for side in ("fixed", "moving")] == [2, 2]
        assert "an empty column 'fixed2'" in half.problem


@pytest.mark.parametrize(
    "text, words",
    [
        ("fixed\na.nrrd\n", "lacks the column 'moving'"),
        ("fixed,moving,image\na,b,c\n", "unknown column 'image'"),
        ("fixed,moving,moving2\na,b,c\n", "unknown column 'moving2'"),
    ],
)
def test_a_list_of_pairs_that_cannot_be_meant(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        pairs(write(tmp_path, text))


def test_pairs_cannot_be_told_from_a_folder(tmp_path):
    (tmp_path / "scans").mkdir()
    with pytest.raises(UserError, match="does not say which files belong together: .* columns fixed, moving"):
        pairs(tmp_path / "scans")
