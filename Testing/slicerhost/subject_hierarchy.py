"""Subject hierarchy: items for the nodes of the scene, and the widgets that show them.

In Slicer, Qt plugins give each data node an item of the subject hierarchy; slicer-core has none, so an observer creates
them.
"""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from slicerhost.cpp import add_property, cpp_class, string_list
from slicerhost.mrml_observing import NODE_LIST_EVENTS, SceneObserver

ITEM_ROLE = Qt.UserRole + 1
CLASSES_WITH_ITEM = (
    "vtkMRMLDisplayableNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
    "vtkMRMLSequenceBrowserNode",
)


def subject_hierarchy_node(scene):
    """The subject hierarchy of the scene, or None without a scene."""
    return None if scene is None else slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def give_items_to_nodes(scene) -> None:
    """Make an item in the subject hierarchy for every data node of the scene that has none yet."""
    hierarchy = subject_hierarchy_node(scene)
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        if node.GetHideFromEditors() or not any(node.IsA(name) for name in CLASSES_WITH_ITEM):
            continue
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def keep_items_in_step(scene) -> None:
    """Observe the scene for as long as it lives, and make items for new nodes."""
    events = slicer.vtkMRMLScene
    for event in (events.NodeAddedEvent, events.EndBatchProcessEvent, events.EndImportEvent):
        scene.AddObserver(event, lambda caller, _event: _update(caller))


def _update(scene) -> None:
    if not scene.IsBatchProcessing() and not scene.IsClosing():
        give_items_to_nodes(scene)


class _ItemModel(QtGui.QStandardItemModel):
    """The items of the hierarchy as a tree, those without a suitable node left out."""

    def fill(self, hierarchy, accepts) -> None:
        self.clear()
        self.setHorizontalHeaderLabels(["Node"])
        if hierarchy is not None:
            self._add_children(self.invisibleRootItem(), hierarchy, hierarchy.GetSceneItemID(), accepts)

    def _add_children(self, parent: QtGui.QStandardItem, hierarchy, item_id: int, accepts) -> None:
        children = vtk.vtkIdList()
        hierarchy.GetItemChildren(item_id, children)
        for index in range(children.GetNumberOfIds()):
            child_id = children.GetId(index)
            node = hierarchy.GetItemDataNode(child_id)
            if node is not None and not accepts(node):
                continue
            row = QtGui.QStandardItem(hierarchy.GetItemName(child_id))
            row.setData(child_id, ITEM_ROLE)
            row.setEditable(False)
            parent.appendRow(row)
            self._add_children(row, hierarchy, child_id, accepts)

    def index_of(self, item_id: int) -> QtCore.QModelIndex:
        found = self.match(self.index(0, 0), ITEM_ROLE, item_id, 1, Qt.MatchExactly | Qt.MatchRecursive)
        return found[0] if found else QtCore.QModelIndex()


class _ItemChooser(SceneObserver):
    """Mixin: what the tree and the combo box of the subject hierarchy share."""

    def setMRMLScene(self, scene) -> None:
        self._stop_observing()
        self._scene = scene
        if scene is not None:
            self._observe(scene, NODE_LIST_EVENTS, self._refresh)
        self._refresh()

    def subjectHierarchyNode(self):
        return subject_hierarchy_node(self.mrmlScene())

    def _accepts(self, node) -> bool:
        return not self.nodeTypes or any(node.IsA(name) for name in self.nodeTypes)

    def _refresh(self) -> None:
        """Rebuild the list; the current item stays while it exists."""
        scene = self.mrmlScene()
        current = self.__dict__.get("_current_item", 0)
        if scene is not None and not scene.IsClosing():
            give_items_to_nodes(scene)
        with QtCore.QSignalBlocker(self):
            self._items.fill(self.subjectHierarchyNode(), self._accepts)
        self.setCurrentItem(current if self._items.index_of(current).isValid() else 0)

    def currentItem(self) -> int:
        return self.__dict__.get("_current_item", 0)

    def setCurrentNode(self, node) -> None:
        hierarchy = self.subjectHierarchyNode()
        self.setCurrentItem(
            hierarchy.GetItemByDataNode(node) if hierarchy is not None and node is not None else 0
        )

    def currentNode(self):
        hierarchy = self.subjectHierarchyNode()
        return (
            hierarchy.GetItemDataNode(self.currentItem())
            if hierarchy is not None and self.currentItem()
            else None
        )

    def setCurrentItem(self, item_id: int) -> None:
        item_id = item_id if self._items.index_of(item_id).isValid() else 0
        changed = item_id != self.currentItem()
        self._current_item = item_id
        self._show_current(self._items.index_of(item_id))
        if changed:
            self._tell()


@cpp_class
class qMRMLSubjectHierarchyTreeView(QtWidgets.QTreeView, _ItemChooser):
    """The subject hierarchy as a tree, one item of which is current."""

    currentItemChanged = Signal(object)
    currentItemsChanged = Signal(object)
    CPP_SIGNALS = {
        "currentItemChanged(vtkIdType)": "currentItemChanged",
        "currentItemsChanged(QList<vtkIdType>)": "currentItemsChanged",
    }

    def __init__(self, parent=None):
        super().__init__(parent)
        self._items = _ItemModel(self)
        self.setModel(self._items)
        self.header().setStretchLastSection(True)
        self.selectionModel().currentChanged.connect(self._current_changed)

    def _current_changed(self, current, _previous) -> None:
        self.setCurrentItem(current.data(ITEM_ROLE) if current.isValid() else 0)

    def _show_current(self, index: QtCore.QModelIndex) -> None:
        with QtCore.QSignalBlocker(self.selectionModel()):
            self.setCurrentIndex(index)

    def _tell(self) -> None:
        self.currentItemChanged.emit(self.currentItem())
        self.currentItemsChanged.emit(self.currentItems())

    def currentItems(self) -> list[int]:
        return [self.currentItem()] if self.currentItem() else []

    def clearSelection(self) -> None:
        self.setCurrentItem(0)

    def displayedItemCount(self) -> int:
        return len(
            self._items.match(
                self._items.index(0, 0), Qt.DisplayRole, "*", -1, Qt.MatchWildcard | Qt.MatchRecursive
            )
        )


@cpp_class
class qMRMLSubjectHierarchyComboBox(QtWidgets.QComboBox, _ItemChooser):
    """The items of the subject hierarchy in a combo box; sub-items are not shown."""

    currentItemChanged = Signal(object)
    CPP_SIGNALS = {"currentItemChanged(vtkIdType)": "currentItemChanged"}

    def __init__(self, parent=None):
        super().__init__(parent)
        self._items = _ItemModel(self)
        self.setModel(self._items)
        self.setPlaceholderText("Select subject hierarchy item")
        self.currentIndexChanged.connect(lambda row: self.setCurrentItem(self.itemData(row, ITEM_ROLE) or 0))

    def _show_current(self, index: QtCore.QModelIndex) -> None:
        with QtCore.QSignalBlocker(self):
            self.setCurrentIndex(index.row())

    def _tell(self) -> None:
        self.currentItemChanged.emit(self.currentItem())

    def clearSelection(self) -> None:
        self.setCurrentItem(0)


for _class in (qMRMLSubjectHierarchyTreeView, qMRMLSubjectHierarchyComboBox):
    add_property(_class, "QStringList", "nodeTypes", (), changed=_class._refresh, convert=string_list)
    add_property(_class, bool, "multiSelection", False)
    add_property(_class, bool, "contextMenuEnabled", True)
    add_property(_class, bool, "noneEnabled", True)
