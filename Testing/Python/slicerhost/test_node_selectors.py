"""Stand-ins of the widgets that choose nodes."""

from __future__ import annotations

import pytest


@pytest.fixture
def slicer(host):
    import slicer

    return slicer


@pytest.fixture
def add(slicer):
    """Add a volume (or another node) of this name to the scene."""
    return lambda name, class_name="vtkMRMLScalarVolumeNode": slicer.mrmlScene.AddNewNodeByClass(
        class_name, name
    )


@pytest.fixture
def make(slicer):
    """Make a selector of volumes with these properties, the scene set last as in a form."""

    def make(scene=True, **properties):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        for name, value in properties.items():
            setattr(selector, name, value)
        if scene:
            selector.setMRMLScene(slicer.mrmlScene)
        return selector

    return make


def texts(selector) -> list[str]:
    box = selector.findChild("QComboBox")
    return [box.itemText(row) for row in range(box.count) if box.itemText(row)]


def choose(selector, text: str) -> None:
    """Open the list and click an item, as a user does."""
    box = selector.findChild("QComboBox")
    row = box.findText(text)
    assert row >= 0, texts(selector)
    box.setCurrentIndex(row)
    box.activated.emit(row)


def test_disabled_without_scene(make, slicer):
    selector = make(scene=False)
    assert not selector.enabled and selector.currentNode() is None
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.enabled


def test_chooses_the_first_node_unless_none_is_offered(make, add):
    first = add("a")
    add("b")
    assert make().currentNode() is first
    assert make(noneEnabled=True).currentNode() is None


def test_does_not_choose_a_node_added_later(make, add):
    selector = make()
    add("a")
    assert selector.currentNode() is None and selector.nodeCount() == 1


def test_without_any_action_the_first_node_added_is_chosen(make, add):
    selector = make(addEnabled=False, removeEnabled=False)
    assert add("a") is selector.currentNode()


def test_a_node_requested_before_the_scene_is_chosen_with_it(make, add, slicer):
    add("a")
    wanted = add("b")
    selector = make(scene=False)
    selector.setCurrentNode(wanted)
    assert selector.currentNode() is None
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is wanted


def test_signals_of_a_change(make, add):
    node, selector, seen = add("a"), make(noneEnabled=True), []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda chosen: seen.append(chosen))
    selector.connect("currentNodeChanged(bool)", lambda valid: seen.append(valid))
    selector.connect("currentNodeIDChanged(QString)", lambda node_id: seen.append(node_id))
    selector.setCurrentNode(node)
    selector.setCurrentNode(node)
    selector.setCurrentNode(None)
    assert seen == [node, True, node.GetID(), None, False, ""]
    with pytest.raises(ValueError, match="no signal"):
        selector.connect("currentNodeChanged()", print)


def test_choosing_by_id_and_index(make, add):
    nodes, selector = [add("a"), add("b")], make(noneEnabled=True)
    selector.currentNodeID = nodes[1].GetID()
    assert selector.currentNode() is nodes[1]
    selector.setCurrentNodeIndex(0)
    assert selector.currentNode() is nodes[0]
    selector.setCurrentNodeID("vtkMRMLNoSuchNode1")
    assert (selector.currentNode(), selector.currentNodeID) == (None, "")


def test_values_of_the_wrong_type_are_refused(make):
    selector = make()
    with pytest.raises(AttributeError, match="list of texts"):
        selector.nodeTypes = "vtkMRMLScalarVolumeNode"
    with pytest.raises(AttributeError, match="does not accept"):
        selector.noneEnabled = "yes"


def test_types_attributes_and_hidden_nodes(make, add):
    plain, label = add("plain"), add("label", "vtkMRMLLabelMapVolumeNode")
    selector = make()
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert selector.nodes() == [plain, label]
    selector.showChildNodeTypes = False
    assert selector.nodes() == [plain]
    selector.showChildNodeTypes = True
    selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    assert selector.nodes() == [plain]
    selector.hideChildNodeTypes = []
    plain.SetHideFromEditors(True)
    assert selector.nodes() == [label]
    selector.showHidden = True
    assert selector.nodes() == [plain, label]


@pytest.mark.parametrize(
    ("value", "names"), [("a", ["a"]), ("b", []), ("", ["empty"]), (None, ["empty", "a"])]
)
def test_attribute_filter(make, add, value, names):
    add("without")
    add("empty").SetAttribute("role", "")
    add("a").SetAttribute("role", "a")
    selector = make()
    selector.addAttribute("vtkMRMLScalarVolumeNode", "role", value)
    assert [node.GetName() for node in selector.nodes()] == names


def test_items(make, add):
    add("head")
    selector = make(noneEnabled=True, renameEnabled=True, noneDisplay="Nothing")
    assert texts(selector) == [
        "Nothing",
        "head",
        "Rename current Volume",
        "Create new Volume",
        "Create new Volume as...",
        "Delete current Volume",
    ]


def test_a_new_name_is_shown(make, add):
    node, selector = add("old"), make(addEnabled=False, removeEnabled=False)
    node.SetName("new")
    assert texts(selector) == ["new"]


def test_create_new(make, slicer):
    selector, added = make(noneEnabled=True, baseName="Result"), []
    selector.addAttribute("vtkMRMLScalarVolumeNode", "role", "output")
    selector.connect("nodeAddedByUser(vtkMRMLNode*)", lambda node: added.append(node))
    choose(selector, "Create new Volume")
    node = selector.currentNode()
    assert added == [node] and node.GetScene() is slicer.mrmlScene
    assert (node.GetName(), node.GetAttribute("role")) == ("Result", "output")


def test_rename_create_as_and_delete(make, add, host, slicer):
    node, selector = add("old"), make(noneEnabled=True, renameEnabled=True)
    selector.setCurrentNode(node)
    with host.answers("new", ""):
        choose(selector, "Rename current Volume")
        choose(selector, "Rename current Volume")
    assert node.GetName() == "new"
    with host.answers("third"):
        choose(selector, "Create new Volume as...")
    assert selector.currentNode().GetName() == "third"
    choose(selector, "Delete current Volume")
    assert selector.currentNode() is node and selector.nodeCount() == 1


def test_choosing_as_a_user(make, add):
    add("a")
    second, selector, seen = add("b"), make(), []
    selector.connect("nodeActivated(vtkMRMLNode*)", lambda node: seen.append(node))
    choose(selector, "b")
    assert selector.currentNode() is second and seen == [second]


@pytest.mark.parametrize(("removed", "left"), [(1, 2), (2, 1)])
def test_a_removed_current_node_gives_way_to_its_neighbour(make, add, slicer, removed, left):
    nodes, selector = [add("a"), add("b"), add("c")], make(noneEnabled=True)
    selector.setCurrentNode(nodes[removed])
    slicer.mrmlScene.RemoveNode(nodes[removed])
    assert selector.currentNode() is nodes[left]


def test_closing_the_scene_leaves_no_current_node(make, add, host):
    add("a")
    selector, seen = make(), []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: seen.append(node))
    host.close_scene()
    assert selector.currentNode() is None and seen == [None]


def test_user_actions(make, add):
    import qt

    add("a")
    selector, seen = make(), []
    action = qt.QAction("Reset", selector)
    action.connect("triggered()", lambda: seen.append("reset"))
    selector.addMenuAction(action)
    choose(selector, "Reset")
    assert seen == ["reset"] and selector.currentNode().GetName() == "a"


def test_a_deleted_selector_no_longer_looks_at_the_scene(make, add, host):
    selector = make()
    selector.deleteLater()
    host.process_events()
    add("a")
    with pytest.raises(RuntimeError):
        selector.findChild("QComboBox")


def test_checkable_selector(slicer, add):
    import qt

    nodes = [add("a"), add("b")]
    selector, seen = slicer.qMRMLCheckableNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    selector.connect("checkedNodesChanged()", lambda: seen.append(len(selector.checkedNodes())))
    selector.setCheckState(nodes[1], qt.Qt.Checked)
    add("c")
    assert selector.checkedNodes() == [nodes[1]] and seen == [1]
    assert [node.GetName() for node in selector.uncheckedNodes()] == ["a", "c"]


@pytest.mark.parametrize("name", ["qMRMLSubjectHierarchyTreeView", "qMRMLSubjectHierarchyComboBox"])
def test_subject_hierarchy_choosers(slicer, add, name):
    chooser, seen = getattr(slicer, name)(), []
    chooser.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    chooser.setMRMLScene(slicer.mrmlScene)
    chooser.connect("currentItemChanged(vtkIdType)", lambda item: seen.append(item))
    volume, table = add("volume"), add("table", "vtkMRMLTableNode")
    assert chooser.currentNode() is None
    chooser.setCurrentNode(volume)
    item = chooser.subjectHierarchyNode().GetItemByDataNode(volume)
    assert (chooser.currentItem(), chooser.currentNode(), seen) == (item, volume, [item])
    chooser.setCurrentNode(table)
    assert chooser.currentItem() == chooser.subjectHierarchyNode().GetInvalidItemID()
    chooser.setCurrentNode(volume)
    chooser.clearSelection()
    assert chooser.currentNode() is None


def test_nodes_get_items_in_the_subject_hierarchy(slicer, add):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByDataNode(add("head"))
    assert not hierarchy.GetItemByDataNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
