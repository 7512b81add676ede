"""Stand-in of qMRMLCheckableNodeComboBox: any number of nodes can be ticked."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Qt, Signal

from slicerhost.cpp import add_property, cpp_class, string_list
from slicerhost.ctk_inputs import ctkCheckableComboBox
from slicerhost.mrml_observing import NodeListWidget

NODE_ID_ROLE = Qt.UserRole


@cpp_class
class qMRMLCheckableNodeComboBox(QtWidgets.QWidget, NodeListWidget):
    """The nodes of the scene that pass the filters, each with a check box."""

    checkedNodesChanged = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self._combo_box = ctkCheckableComboBox()
        self._combo_box.checkedIndexesChanged.connect(self.checkedNodesChanged)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo_box)

    def setMRMLScene(self, scene) -> None:
        self._observe_scene(scene)

    def _refresh(self) -> None:
        ticked = {node.GetID() for node in self.checkedNodes()}
        with QtCore.QSignalBlocker(self._combo_box):
            self._combo_box.clear()
            for node in self._listed_nodes():
                self._combo_box.addItem(node.GetName() or "", node.GetID())
                if node.GetID() in ticked:
                    self.setCheckState(node, Qt.Checked)

    def nodes(self) -> list:
        scene = self.mrmlScene()
        ids = [self._combo_box.itemData(row, NODE_ID_ROLE) for row in range(self._combo_box.count)]
        found = [scene.GetNodeByID(node_id) for node_id in ids] if scene is not None else []
        return [node for node in found if node is not None]

    def nodeCount(self) -> int:
        return len(self.nodes())

    def checkedNodes(self) -> list:
        return [node for node in self.nodes() if self.checkState(node) == Qt.Checked]

    def uncheckedNodes(self) -> list:
        return [node for node in self.nodes() if self.checkState(node) != Qt.Checked]

    def noneChecked(self) -> bool:
        return not self.checkedNodes()

    def allChecked(self) -> bool:
        return not self.uncheckedNodes()

    def _index(self, node) -> QtCore.QModelIndex:
        row = self._combo_box.findData(node.GetID(), NODE_ID_ROLE)
        return self._combo_box.model().index(row, 0)

    def checkState(self, node):
        return self._combo_box.checkState(self._index(node))

    def setCheckState(self, node, state) -> None:
        self._combo_box.setCheckState(self._index(node), state)

    def setUserCheckable(self, node, checkable: bool) -> None:
        self._combo_box.model().itemFromIndex(self._index(node)).setEnabled(checkable)


add_property(
    qMRMLCheckableNodeComboBox, bool, "showHidden", False, changed=qMRMLCheckableNodeComboBox._nodes_changed
)
add_property(
    qMRMLCheckableNodeComboBox,
    bool,
    "showChildNodeTypes",
    True,
    changed=qMRMLCheckableNodeComboBox._nodes_changed,
)
for _name in ("nodeTypes", "hideChildNodeTypes"):
    add_property(
        qMRMLCheckableNodeComboBox,
        "QStringList",
        _name,
        (),
        changed=qMRMLCheckableNodeComboBox._nodes_changed,
        convert=string_list,
    )
for _name, _default in (("addEnabled", False), ("removeEnabled", False), ("noneEnabled", False)):
    add_property(qMRMLCheckableNodeComboBox, bool, _name, _default)
