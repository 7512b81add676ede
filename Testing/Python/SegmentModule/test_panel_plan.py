"""The plan by clicking: it is shown, hidden when a setting changes, and can be stopped."""

from __future__ import annotations

from replay import at_start, recorded

DONE = "This is the plan of a training. Nothing has been trained yet."


def test_the_plan_is_shown_and_leaves_nothing_behind(panel, runs_folder):
    ui = panel.ui
    ui.trainCollapsibleButton.collapsed = False
    assert not ui.trainPlanButton.enabled and "Choose a dataset first" in ui.trainPlanButton.toolTip
    panel.choose_training(patch_size=[0, 0, 0], features=[0], steps=2, validate_every=2)
    assert ui.trainPlanButton.enabled and ui.trainPlanTextEdit.isHidden()
    panel.replay(plan=recorded("segment_plan"))
    ui.trainPlanButton.click()
    assert not ui.trainStartButton.enabled and ui.trainStartButton.toolTip == "A training is being planned."
    assert panel.wait("train") == DONE
    text = ui.trainPlanTextEdit.toPlainText()
    assert not ui.trainPlanTextEdit.isHidden() and ui.trainPlanTextEdit.readOnly
    assert "The images: 4 training cases, 1 channel, 2 classes; typically 36 x 32 x 24 voxels" in text
    assert "A step takes about" in text and " free." in text
    assert not [path for path in runs_folder.rglob("*") if path.is_file()], "a plan leaves nothing behind"
    assert not ui.trainRunFolderPathLineEdit.currentPath


def test_a_plan_goes_when_a_setting_changes(panel):
    panel.choose_training()
    panel.ui.trainPlanTextEdit.setPlainText("a plan")
    panel.ui.trainPlanTextEdit.show()
    panel.choose_training(batch_size=3)
    assert panel.ui.trainPlanTextEdit.isHidden() and panel.ui.trainPlanTextEdit.toPlainText() == ""


def test_a_plan_can_be_stopped_and_fails_in_words(panel, tmp_path):
    launcher = panel.replay(plan=recorded("segment_plan"))
    launcher.hold(at_start)
    panel.choose_training()
    panel.ui.trainPlanButton.click()
    assert panel.ui.trainStopButton.toolTip == "Stop planning."
    panel.ui.trainStopButton.click()
    assert panel.wait("train") == "Stopped; there is no plan."
    assert panel.ui.trainPlanTextEdit.toPlainText() == ""
    launcher.plays["plan"] = recorded("segment_plan_broken")
    broken = tmp_path / "list.json"
    broken.write_text("{}", encoding="utf-8")
    panel.ui.trainDatasetPathLineEdit.currentPath = str(broken)
    panel.ui.trainPlanButton.click()
    assert "list.json" in panel.wait("train") and panel.ui.trainPlanTextEdit.isHidden()
