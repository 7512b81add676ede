"""Stand-in of qMRMLNodeComboBox, the node selector of every module panel."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicerhost.cpp import add_property, cpp_class, enum_to_int, string_list
from slicerhost.mrml_observing import NodeListWidget

NODE_ID_ROLE = Qt.UserRole
ACTION_ROLE = Qt.UserRole + 1


@cpp_class
class qMRMLNodeComboBox(QtWidgets.QWidget, NodeListWidget):
    """Chooses a node of the scene; may offer None, new, renamed and deleted nodes.

    As in Slicer: disabled until it has a scene; with `noneEnabled` nothing is chosen at first, otherwise the
    first node present when the scene is set; a node added later is not chosen by itself.
    """

    currentNodeChanged = Signal(object)
    _validityChanged = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    currentNodeRenamed = Signal(str)
    CPP_SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_validityChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
        "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited",
    }

    def __init__(self, parent=None):
        super().__init__(parent)
        self._nodes: list = []
        self._current = None
        self._requested_id = ""
        self._base_names: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._user_actions: list[QtGui.QAction] = []
        self._combo_box = QtWidgets.QComboBox()
        self._combo_box.setMinimumContentsLength(8)
        self._combo_box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._combo_box.activated.connect(self._activated)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo_box)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Fixed)
        self.setEnabled(False)

    # Scene and current node

    def setMRMLScene(self, scene) -> None:
        if scene is self.mrmlScene():
            return
        was_filled = bool(self._nodes)
        self._observe_scene(scene)
        if scene is not None and not was_filled:
            requested = scene.GetNodeByID(self._requested_id) if self._requested_id else None
            first = self._nodes[0] if self._nodes and not self.noneEnabled else None
            self.setCurrentNode(requested or first)
        self._requested_id = ""
        self.setEnabled(scene is not None)

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node) -> None:
        if isinstance(node, str):
            self.setCurrentNodeID(node)
            return
        if self.mrmlScene() is None:
            self._requested_id = node.GetID() if node is not None else ""
            return
        self._choose(node if node in self._nodes else None)

    def setCurrentNodeID(self, node_id: str | None) -> None:
        if self.mrmlScene() is None:
            self._requested_id = node_id or ""
            return
        self._choose(next((node for node in self._nodes if node.GetID() == node_id), None))

    currentNodeID = Property(
        str, lambda self: self._current.GetID() or "" if self._current else "", setCurrentNodeID
    )

    def setCurrentNodeIndex(self, index: int) -> None:
        self._choose(self._nodes[index] if 0 <= index < len(self._nodes) else None)

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index: int):
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def nodes(self) -> list:
        return list(self._nodes)

    def _choose(self, node) -> None:
        changed = node is not self._current
        self._current = node
        self._show_current()
        if changed:
            self.currentNodeChanged.emit(node)
            self._validityChanged.emit(node is not None)
            self.currentNodeIDChanged.emit(node.GetID() or "" if node else "")

    def _show_current(self) -> None:
        row = 0 if self.noneEnabled else -1
        if self._current is not None:
            row = self._nodes.index(self._current) + (1 if self.noneEnabled else 0)
        with QtCore.QSignalBlocker(self._combo_box):
            self._combo_box.setCurrentIndex(row)

    # Items

    def _refresh(self) -> None:
        previous, self._nodes = self._nodes, self._listed_nodes()
        added = [node for node in self._nodes if node not in previous]
        for node in previous:
            if node not in self._nodes:
                self.nodeAboutToBeRemoved.emit(node)
        self._fill()
        current = self._current
        if current is not None and current not in self._nodes:
            current = self._successor(previous.index(current))
        elif current is None and not previous and not self.noneEnabled and not self._action_items():
            # Qt chooses the first row that is ever put into an empty combo box; with an action in it, it is
            # not empty.
            current = self._nodes[0] if self._nodes else None
        self._choose(current)
        for node in added:
            self.nodeAdded.emit(node)

    def _successor(self, row: int):
        """The node to choose after the current one went away. Slicer chooses none after the very first."""
        if not self._nodes or (row == 0 and not self.noneEnabled):
            return None
        return self._nodes[min(row, len(self._nodes) - 1)]

    def _fill(self) -> None:
        with QtCore.QSignalBlocker(self._combo_box):
            self._combo_box.clear()
            self._combo_box.setPlaceholderText(
                f"Select a {self.nodeTypeLabel(next(iter(self.nodeTypes), ''))}"
            )
            if self.noneEnabled:
                self._combo_box.addItem(self.noneDisplay)
            for node in self._nodes:
                self._combo_box.addItem(node.GetName() or "", node.GetID())
            actions = self._action_items()
            if actions:
                self._combo_box.insertSeparator(self._combo_box.count)
            for text, action in actions:
                self._combo_box.addItem(text)
                self._combo_box.setItemData(self._combo_box.count - 1, action, ACTION_ROLE)

    def _action_items(self) -> list[tuple]:
        """Texts of the items below the nodes, each with the function to call and its arguments."""
        if self.mrmlScene() is None:
            return []
        types = self.nodeTypes
        label = self.nodeTypeLabel(types[0] if len(types) == 1 else "")
        items: list[tuple] = []
        if self.renameEnabled:
            items.append((f"Rename current {label}", ("renameCurrentNode",)))
        if self.editEnabled:
            items.append((f"Edit current {label}", ("editCurrentNode",)))
        if self.addEnabled:
            for node_type in types:
                items.append((f"Create new {self.nodeTypeLabel(node_type)}", ("_create", node_type)))
                if self.renameEnabled:
                    items.append(
                        (f"Create new {self.nodeTypeLabel(node_type)} as...", ("_create_as", node_type))
                    )
        if self.removeEnabled:
            items.append((f"Delete current {label}", ("removeCurrentNode",)))
        items.extend((action.text, ("_trigger", action.text)) for action in self._user_actions)
        return items

    def _activated(self, row: int) -> None:
        action = self._combo_box.itemData(row, ACTION_ROLE)
        if action:
            self._show_current()
            getattr(self, action[0])(*action[1:])
            return
        node_id = self._combo_box.itemData(row, NODE_ID_ROLE)
        node = next((node for node in self._nodes if node.GetID() == node_id), None)
        self._choose(node)
        self.nodeActivated.emit(node)

    # Actions of the items

    def addMenuAction(self, action: QtGui.QAction) -> None:
        if action.text not in [item.text for item in self._user_actions]:
            self._user_actions.append(action)
            self._fill()
            self._show_current()

    def _trigger(self, text: str) -> None:
        next(action for action in self._user_actions if action.text == text).trigger()

    def addNode(self, node_type: str | None = None):
        """Make a node of one of the node types, with the base name and the filter attributes."""
        node_type = node_type or next(iter(self.nodeTypes), None)
        scene = self.mrmlScene()
        if scene is None or node_type not in self.nodeTypes:
            return None
        node = scene.CreateNodeByClass(node_type)
        node.UnRegister(None)
        node.SetName(scene.GenerateUniqueName(self.baseNameOf(node_type) or self.nodeTypeLabel(node_type)))
        for _, name, value in self.__dict__.get("_attributes", []):
            node.SetAttribute(name, value or "")
        node = scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _create(self, node_type: str) -> None:
        node = self.addNode(node_type)
        self.setCurrentNode(node)
        self.nodeAddedByUserAction.emit(node)

    def _create_as(self, node_type: str) -> None:
        name = QtWidgets.QInputDialog.getText(
            self, f"Create new {self.nodeTypeLabel(node_type)}", "New name:"
        )
        if name:
            node = self.addNode(node_type)
            node.SetName(name)
            self.setCurrentNode(node)
            self.nodeAddedByUserAction.emit(node)

    def removeCurrentNode(self) -> None:
        if self._current is not None:
            self.mrmlScene().RemoveNode(self._current)

    def renameCurrentNode(self) -> None:
        if self._current is None:
            return
        title = f"Rename {self.nodeTypeLabel(self._current.GetClassName())}"
        name = QtWidgets.QInputDialog.getText(self, title, "New name:")
        if name:
            self._current.SetName(name)
            self.currentNodeRenamed.emit(name)

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self._current)

    # Names

    def nodeTypeLabel(self, node_type: str) -> str:
        if node_type in self._labels:
            return self._labels[node_type]
        scene = self.mrmlScene()
        return (scene.GetTypeDisplayNameByClassName(node_type) if scene and node_type else "") or "node"

    def setNodeTypeLabel(self, label: str, node_type: str) -> None:
        self._labels[node_type] = label
        self._refresh()

    def setBaseName(self, name: str, node_type: str = "") -> None:
        """Base of the names of new nodes, of one node type or of all types."""
        self._base_names[node_type] = name

    def baseNameOf(self, node_type: str) -> str:
        return self._base_names.get(node_type) or self._base_names.get("", "")

    baseName = Property(str, lambda self: self.baseNameOf(next(iter(self.nodeTypes), "")), setBaseName)


NODE_TYPES = "QStringList"
for _type, _name, _default in (
    (bool, "showHidden", False),
    (bool, "showChildNodeTypes", True),
    (bool, "noneEnabled", False),
    (bool, "addEnabled", True),
    (bool, "removeEnabled", True),
    (bool, "editEnabled", False),
    (bool, "renameEnabled", False),
    (str, "noneDisplay", "None"),
):
    add_property(qMRMLNodeComboBox, _type, _name, _default, changed=qMRMLNodeComboBox._refresh)
for _name in ("nodeTypes", "hideChildNodeTypes"):
    add_property(
        qMRMLNodeComboBox,
        NODE_TYPES,
        _name,
        (),
        changed=qMRMLNodeComboBox._nodes_changed,
        convert=string_list,
    )
add_property(qMRMLNodeComboBox, bool, "selectNodeUponCreation", True)
add_property(qMRMLNodeComboBox, str, "interactionNodeSingletonTag", "Singleton")
add_property(qMRMLNodeComboBox, int, "sizeAdjustPolicy", 0, convert=enum_to_int)
