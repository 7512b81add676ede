"""Classifying by clicking: the answer is a table of the scene and a sentence in the status."""

from __future__ import annotations

import json

import pytest
from module_panel import ModulePanel
from replay import Recording, at_start, recorded
from toy_classes import write_table, write_volumes

QUICK = ("--set", "steps=2", "--set", "network=alexnet", "--set", "features=4", "--set", "batch_size=2")


@pytest.fixture
def panel(host, tmp_path, monkeypatch) -> ModulePanel:
    monkeypatch.setenv("MEDDEEP_RUNS", str(tmp_path / "runs"))
    return ModulePanel(host, "ClassifyModule")


@pytest.fixture
def run(train, tmp_path):
    """The run of a network for volumes."""
    code, _, errors = train(write_volumes(tmp_path, count=8, size=16), "cnn", tmp_path / "runs" / "cnn", *QUICK)
    assert code == 0, errors
    return tmp_path / "runs" / "cnn"


def choose(panel, run, volume=None) -> None:
    panel.widget.enter()
    panel.choose_model(panel.ui.applyModelComboBox, run)
    if volume is not None:
        panel.section("apply").inputs.selectors[0].setCurrentNode(volume)


def rows_of(node) -> dict[str, tuple[float, str]]:
    table = node.GetTable()
    columns = [table.GetColumn(number) for number in range(3)]
    return {
        columns[0].GetValue(n): (columns[1].GetValue(n), columns[2].GetValue(n))
        for n in range(table.GetNumberOfRows())
    }


def load_volume(file):
    from MedDeepLib.data.sources.image import read_image
    from MedDeepLib.scene import nodes

    return nodes.volume_from_image(read_image(file), "patient 3")


def tables() -> list:
    import slicer

    return [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if not node.GetHideFromEditors()]


def test_a_volume_gets_its_class(panel, run, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert not panel.ui.applyButton.enabled and "Choose a model" in panel.ui.applyButton.toolTip
    choose(panel, run)
    assert not panel.ui.applyButton.enabled and "Choose a volume for" in panel.ui.applyButton.toolTip
    choose(panel, run, load_volume(tmp_path / "3.nrrd"))
    panel.ui.applyButton.click()
    said = panel.wait("apply")
    assert said.startswith("Done. The class is ") and "The table 'patient 3 classification' says more." in said
    (table,) = tables()
    rows = rows_of(table)
    probabilities = {name: rows[name][0] for name in ("healthy", "sick")}
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-6)
    (called,) = [name for name in probabilities if rows[name][1].endswith("the answer")]
    assert f"The class is {called} (probability {probabilities[called]:.2f})." in said
    assert any("training case" in remark for _, remark in rows.values())


def answer(called: str, **fields) -> dict:
    empty = {"case": "", "called": called, "probabilities": {}, "frequencies": {}, "value": None, "interval": None}
    return empty | {"typical": 1.0, "unlike": False, "nearest": [], "notes": []} | fields


def answering(found: dict) -> Recording:
    """The worker of a segmentation whose output is this answer."""

    def write(folder) -> None:
        (output,) = folder.job().items[0].outputs.values()
        with open(output, "w", encoding="utf-8") as file:
            json.dump(found, file)

    return recorded("segment_apply").writing(write)


def test_the_chosen_table_is_replaced_only_after_a_question(panel, run, tmp_path):
    import qt

    choose(panel, run, load_volume(tmp_path / "3.nrrd"))
    probabilities = {"healthy": 0.25, "sick": 0.75}
    panel.replay(apply=answering(answer("sick", probabilities=probabilities, unlike=True, typical=0.0)))
    panel.ui.applyButton.click()
    assert "The class is sick (probability 0.75)." in panel.wait("apply")
    (table,) = tables()
    assert rows_of(table)["unlike the training cases"][0] == 0.0
    panel.ui.applyOutputSelector.setCurrentNode(table)
    panel.replay(apply=answering(answer("", value=61.5, interval=[55.0, 70.0])))
    panel.host.start(testing=False)
    try:
        with panel.host.answers(qt.QMessageBox.Cancel) as asked:
            panel.ui.applyButton.click()
        assert len(asked) == 1 and "sick" in rows_of(table)
        with panel.host.answers(qt.QMessageBox.Ok):
            panel.ui.applyButton.click()
            assert "The value is 61.5." in panel.wait("apply")
    finally:
        panel.host.start(testing=True)
    assert tables() == [table] and rows_of(table) == {"value": (61.5, "90 % of the validation cases: 55 to 70")}


def test_a_script_replaces_no_rows_unasked(panel, run, tmp_path):
    from MedDeepLib.errors import UserError
    from MedDeepLib.scene import nodes

    mine = nodes.table_from_rows("my work", ["name"], [["precious"]])
    with pytest.raises(UserError, match="The table my work has rows already"):
        panel.widget.logic.apply([load_volume(tmp_path / "3.nrrd")], run, mine)
    assert mine.GetTable().GetNumberOfRows() == 1


def test_what_slicer_shows_of_it(panel):
    import slicer

    import ClassifyModule

    module = slicer.modules.classifymodule
    assert module.title == "Deep Classification" and list(module.categories) == ["Classification"]
    ClassifyModule.ClassifyModuleTest().runTest()


def test_a_stop_leaves_nothing(panel, run, tmp_path):
    choose(panel, run, load_volume(tmp_path / "3.nrrd"))
    panel.replay(apply=answering(answer("sick", probabilities={"sick": 1.0}))).hold(at_start)
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Stop"
    panel.ui.applyButton.click()
    assert panel.wait("apply") == "Stopped; nothing was added to the scene." and not tables()


def test_a_model_for_tables_is_left_to_the_script(panel, train, tmp_path):
    dataset = write_table(tmp_path / "table.csv", count=40)
    code, _, errors = train(dataset, "mlp", tmp_path / "runs" / "mlp", "--set", "steps=2")
    assert code == 0, errors
    choose(panel, tmp_path / "runs" / "mlp")
    assert not panel.ui.applyButton.enabled and "classify.py" in panel.ui.applyButton.toolTip
