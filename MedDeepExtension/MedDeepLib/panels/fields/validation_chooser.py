"""How a method is evaluated in training: on some patients set aside, or by cross-validation."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedDeepLib.panels.changes import Changes
from MedDeepLib.panels.status import show_text


class ValidationChooser:
    """A combo box with the number of folds beside it, and an explanation of the choice below it.

    Its value is "holdout", "patients" or "sites".
    """

    def __init__(self, combo_box: Any, folds_spin_box: Any, note: Any):
        self.changes = Changes()
        self._combo_box, self._folds_spin_box, self._note = combo_box, folds_spin_box, note
        combo_box.clear()
        combo_box.addItem(_("Hold out a share of the patients"), "holdout")
        combo_box.addItem(_("Cross-validation by patient"), "patients")
        combo_box.addItem(_("Leave one site out"), "sites")
        folds_spin_box.suffix = _(" folds")
        combo_box.connect("currentIndexChanged(int)", lambda index: self._chosen())
        folds_spin_box.connect("valueChanged(int)", lambda value: self._explain())
        self._explain()

    def value(self) -> str:
        return self._combo_box.itemData(self._combo_box.currentIndex)

    def set_value(self, choice: str) -> None:
        """Choose a value; an unknown one changes nothing."""
        row = self._combo_box.findData(choice)
        if row >= 0:
            self._combo_box.currentIndex = row

    def folds(self) -> str:
        """The job's ``folds``: a number, "site", or empty if one network is trained."""
        return {"patients": str(self._folds_spin_box.value), "sites": "site"}.get(self.value(), "")

    def _chosen(self) -> None:
        self._explain()
        self.changes.emit()

    def _explain(self) -> None:
        choice = self.value()
        self._folds_spin_box.setVisible(choice == "patients")
        if choice == "patients":
            text = _(
                "Trains {folds} networks, each evaluated on patients that it has not seen, with sites spread evenly. "
                "Gives metrics with confidence intervals."
            ).format(folds=self._folds_spin_box.value)
        elif choice == "sites":
            text = _(
                "Trains a network for every site, evaluated on this site and trained on all others: how well the "
                "method works in a new center."
            )
        else:
            text = _("Trains one network; validation patients choose its best weights.")
        show_text(self._note, text)
