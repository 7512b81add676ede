"""Reviewing findings: threshold, table, accepting and rejecting, editing and adding boxes, undo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import qt
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.errors import UserError
from MedDeepLib.panels.changes import Changes, ValueConnector
from MedDeepLib.panels.sections.job_section import explain_button
from MedDeepLib.panels.status import StatusLine, show_text
from slicer.i18n import tr as _

from DetectModuleLib.findings import Finding
from DetectModuleLib.panel.findings_table import FindingsTable
from DetectModuleLib.panel.history import Findings, History
from DetectModuleLib.scene import places
from DetectModuleLib.scene.findings_nodes import FindingsNodes
from DetectModuleLib.scene.point_lists import MARK

_PAUSE_MILLISECONDS = 50
_DEFAULT_SIZE = 10.0  # mm, where there is no other finding to go by


class Review:
    """The findings of the chosen point list.

    Attributes:
        shown: the findings, None when no point list is chosen.
        status: the sentence below the table.
        changes: emitted when the findings, or what is visible of them, have changed.
    """

    def __init__(self, ui: Any):
        self.ui = ui
        self.shown: FindingsNodes | None = None
        self.changes = Changes()
        self.status = StatusLine(ui.reviewStatusIcon, ui.reviewStatusLabel)
        self.table = FindingsTable(ui.reviewTable)
        self.history = History()
        self._classes: list[str] = []
        self._later = qt.QTimer()  # a dragged box changes many times a second
        self._later.setSingleShot(True)
        self._later.setInterval(_PAUSE_MILLISECONDS)
        self._later.connect("timeout()", self._refresh)
        ui.applyOutputSelector.addAttribute("vtkMRMLMarkupsFiducialNode", MARK)
        ui.applyOutputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.show)
        ui.reviewThresholdSlider.connect("valueChanged(double)", lambda value: self._threshold_changed())
        ui.reviewBoxesSpinBox.connect("valueChanged(int)", self._boxes_changed)
        ui.reviewTable.connect("cellClicked(int,int)", lambda row, column: self._jump())
        self.table.changes.connect(self._row_chosen)
        ui.reviewTable.connect("itemSelectionChanged()", self._update_buttons)
        ui.reviewClassComboBox.connect("editTextChanged(QString)", lambda text: self._update_buttons())
        for name, action in (
            ("Accept", lambda: self._decide("accepted")),
            ("Reject", lambda: self._decide("rejected")),
            ("Edit", self._edit),
            ("Undo", self._undo),
            ("Add", self._add),
        ):
            getattr(ui, f"review{name}Button").connect("clicked()", action)
        self.show(None)

    def connectors(self) -> dict[str, ValueConnector]:
        return {"reviewOrder": ValueConnector(self.table.order)}

    def show(self, points: Any) -> None:
        """Show the findings of a point list; None: none are chosen."""
        same = self.shown is not None and points is self.shown.points
        if self.shown is not None:
            self.shown.close()
        if not same:
            self.history.clear()
        self.shown = None
        self.status.clear()
        if points is not None:
            try:
                self.shown = FindingsNodes(points)
                self.shown.on_edited = self._edited_in_the_scene
            except UserError as error:
                self.status.error(str(error))
        self._refresh()
        self._offer_classes()

    def shut_down(self) -> None:
        """The panel is closed."""
        self.show(None)
        self._later.stop()
        self.table.shut_down()

    def set_classes(self, classes: tuple[str, ...]) -> None:
        """The classes of the model, for findings that are added."""
        self._classes = list(classes)
        self._offer_classes()

    def is_reviewed(self) -> bool:
        """Whether there is work of the user's in the findings."""
        return self.shown is not None and any(finding.review for finding in self.shown.findings)

    def is_waiting(self) -> bool:
        """Whether the rows are about to follow a change in the scene."""
        return bool(self._later.isActive())

    def selected(self) -> list[Finding]:
        names = self.table.selected_keys()
        return [finding for finding in self.shown.findings if finding.box.name in names] if self.shown else []

    def _refresh(self) -> None:
        """Points, rows and buttons after any change."""
        if self.shown is None:
            self.table.show_findings([])
            show_text(self.ui.reviewCountLabel, _("Apply a model, or choose findings above."))
        else:
            self.shown.show(self.ui.reviewThresholdSlider.value)
            visible = [finding for finding in self.shown.findings if self.shown.is_shown(finding)]
            self.table.show_findings(visible)
            show_text(self.ui.reviewCountLabel, _counted(visible, len(self.shown.findings)))
        self._update_buttons()
        self.changes.emit()

    def _threshold_changed(self) -> None:
        if self.shown is not None:
            self._refresh()

    def _boxes_changed(self, most: int) -> None:
        if self.shown is not None:
            self.shown.show_boxes(most)

    def _update_buttons(self) -> None:
        ui = self.ui
        missing = [] if self.shown is not None else [_("There are no findings: apply a model first.")]
        chosen = missing or ([] if self.table.selected_keys() else [_("Select findings in the table first.")])
        explain_button(ui.reviewAcceptButton, chosen, _("The selected findings are right. Again: not reviewed."))
        explain_button(
            ui.reviewRejectButton,
            chosen,
            _("The selected findings are wrong; they stay in the table. Again: not reviewed."),
        )
        single = chosen or ([_("Select a single finding.")] if len(self.table.selected_keys()) > 1 else [])
        explain_button(ui.reviewEditButton, single, _("Show the finding's box with handles to move and resize it."))
        unnamed = [] if ui.reviewClassComboBox.currentText.strip() else [_("Name the class of the new finding.")]
        explain_button(
            ui.reviewAddButton,
            missing or unnamed,
            _("Put a box of this class at the crosshair, or where the slice views meet; then move and resize it."),
        )
        undoable = missing or ([] if len(self.history) else [_("Nothing has been changed yet.")])
        explain_button(ui.reviewUndoButton, undoable, _("Take the last change of the findings back."))

    def _row_chosen(self) -> None:
        self._update_buttons()
        self._jump()

    def _jump(self) -> None:
        name = self.table.value()
        if self.shown is not None and name and self.shown.find(name) is not None:
            places.jump_to(self.shown.position(name))

    def _decide(self, review: str) -> None:
        """Accept or reject the selected findings, and go on to the next one."""
        chosen = self.selected()
        if self.shown is None or not chosen:
            return
        undecided = "" if all(finding.review == review for finding in chosen) else review
        self.history.keep(self.shown.findings)
        names = {finding.box.name for finding in chosen}
        self.shown.write(
            [
                replace(finding, review=undecided) if finding.box.name in names else finding
                for finding in self.shown.findings
            ]
        )
        self.status.clear()
        following = self.table.next_open(self.shown.findings, chosen[-1].box.name) if undecided else ""
        self._refresh()
        if following and len(chosen) == 1:
            self.table.set_value(following)

    def _edit(self) -> None:
        chosen = self.selected()
        if self.shown is None or len(chosen) != 1:
            return
        self.shown.edit_box(chosen[0].box.name)
        self._jump()
        self.status.info(_("Drag the handles of the box in the views; the table follows."))

    def _add(self) -> None:
        if self.shown is None:
            return
        self.history.keep(self.shown.findings)
        name = self.ui.reviewClassComboBox.currentText.strip()
        center = self.shown.from_world(places.current_position())
        alike = [finding for finding in self.shown.findings if finding.class_name == name] or self.shown.findings
        size = np.median([finding.box.size for finding in alike], axis=0) if alike else np.full(3, _DEFAULT_SIZE)
        axes = alike[0].box.axes if alike else np.eye(3)
        added = self.shown.add(Box(center, size, axes, class_name=name))
        self._refresh()
        self.table.set_value(added.box.name)
        self.status.info(_("Added: drag the handles of the new box in the views."))
        self._offer_classes()

    def _undo(self) -> None:
        if self.shown is None or not len(self.history):
            return
        self.shown.write(self.history.back())
        if not self.shown.boxes():
            self.shown.show_boxes(self.ui.reviewBoxesSpinBox.value)
        self.status.clear()
        self._refresh()

    def _edited_in_the_scene(self, before: Findings) -> None:
        """Somebody has dragged a box or a point, or typed into the table node."""
        assert self.shown is not None
        known = {finding.box.name: finding for finding in before}
        changed = [one.box.name for one in self.shown.findings if known.get(one.box.name) is not one]
        self.history.keep(before, f"edit {changed[0]}" if len(changed) == 1 else "")
        self._later.start()

    def _offer_classes(self) -> None:
        box = self.ui.reviewClassComboBox
        found = [finding.class_name for finding in self.shown.findings] if self.shown is not None else []
        offered = [name for name in dict.fromkeys((*self._classes, *found)) if name]
        if offered == [box.itemText(number) for number in range(box.count)]:
            return
        written = box.currentText
        box.blockSignals(True)
        box.clear()
        for name in offered:
            box.addItem(name)
        if written:
            box.setEditText(written)
        box.blockSignals(False)
        self._update_buttons()


def _counted(visible: list[Finding], total: int) -> str:
    reviews = [finding.review for finding in visible]
    return _("{shown} of {total} findings; {accepted} accepted, {rejected} rejected.").format(
        shown=len(visible), total=total, accepted=reviews.count("accepted"), rejected=reviews.count("rejected")
    )
