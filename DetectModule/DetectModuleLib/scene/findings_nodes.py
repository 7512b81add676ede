"""The findings of one run in the scene: a point list, a table, and ROIs for a few of them.

Slicer becomes slow with a hundred ROIs, not with a thousand points in one list. So every finding is a point, and only
those with the highest scores, and those that somebody edits, have an ROI. The table holds all that is known of the
findings and is what counts; it is saved with the scene, as the others are.

All of them are in the space of the volume without its parent transform, and are put under that transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.errors import UserError
from MedDeepLib.scene import nodes

from DetectModuleLib.findings import Finding
from DetectModuleLib.scene import roi_nodes
from DetectModuleLib.scene.naming import with_names
from DetectModuleLib.scene.point_lists import color_of, make_points, show_points, write_points
from DetectModuleLib.scene.table_nodes import read_table, update_row, write_table

MOST_BOXES = 50

_TABLE, _VOLUMES, _POINTS = "MedDeep.table", "MedDeep.volume", "MedDeep.points"


class FindingsNodes:
    """The findings of one point list; follows what users do to its nodes until it is closed.

    Attributes:
        points: the point list: a point for each finding, in the order of the table.
        table: the table node.
        findings: what is in the table. Their names differ from each other.
        on_edited: called with the findings as they were after a user has changed a ROI, a point or the table.
    """

    def __init__(self, points: Any):
        """Raises UserError when the point list holds no findings or its table cannot be read."""
        self.points = points
        self.table = points.GetNodeReference(_TABLE)
        if self.table is None:
            raise UserError(f"'{points.GetName()}' has no table of findings any more: apply a model again.")
        self.findings: tuple[Finding, ...] = tuple(read_table(self.table))
        self.on_edited: Callable[[tuple[Finding, ...]], None] = lambda before: None
        self._threshold = 0.0
        self._writing = False
        self._previous_table: Any = None
        self._observed: dict[str, tuple[Any, list[int]]] = {}
        self._write(table=self.absorb())

    @classmethod
    def make(cls, name: str, findings: Sequence[Finding], volumes: Sequence[Any], points: Any = None) -> FindingsNodes:
        """Put the findings of a run into the scene.

        Args:
            volumes: nodes in which they were found, the first of which they lie on.
            points: a point list of findings that are replaced; a new one when None.
        """
        import slicer

        table = points.GetNodeReference(_TABLE) if points is not None else None
        if points is None:
            points = make_points(name)
        for roi in _rois_of(points):
            slicer.mrmlScene.RemoveNode(roi)
        table = write_table(with_names(findings), table, f"{points.GetName()} table")
        points.SetNodeReferenceID(_TABLE, table.GetID())
        points.RemoveNodeReferenceIDs(_VOLUMES)
        for number, volume in enumerate(volumes):
            points.SetNthNodeReferenceID(_VOLUMES, number, volume.GetID())
        if volumes:
            nodes.follow(points, volumes[0])
        return cls(points)

    def close(self) -> None:
        """Stop following the nodes. They stay in the scene, unless the point list was deleted: then all of them go."""
        import slicer

        gone = self.points.GetScene() is None
        for node, tags in self._observed.values():
            for tag in tags:
                node.RemoveObserver(tag)
            if gone and node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._observed.clear()

    @property
    def volumes(self) -> list[Any]:
        """The volumes in which they were found, as far as they are still in the scene."""
        count = self.points.GetNumberOfNodeReferences(_VOLUMES)
        found = [self.points.GetNthNodeReference(_VOLUMES, number) for number in range(count)]
        return [node for node in found if node is not None]

    def find(self, name: str) -> Finding | None:
        return next((finding for finding in self.findings if finding.box.name == name), None)

    def write(self, findings: Sequence[Finding]) -> None:
        """Replace all findings; ROIs follow, and those of findings that are gone are removed."""
        self.findings = with_names(findings)
        self._write()

    def replace(self, finding: Finding) -> None:
        """Replace the finding of the same name."""
        self.write([finding if one.box.name == finding.box.name else one for one in self.findings])

    def add(self, box: Box) -> Finding:
        """Add what a user has found, with a ROI to shape it."""
        self.write([*self.findings, Finding(replace(box, name=""), review="accepted")])
        added = self.findings[-1]
        self.edit_box(added.box.name)
        return added

    def show(self, threshold: float) -> None:
        """Show the findings from this score on, and those that were accepted; nothing is computed anew."""
        self._threshold = threshold
        self._show()

    def is_shown(self, finding: Finding) -> bool:
        return finding.review == "accepted" or finding.score >= self._threshold

    def show_boxes(self, most: int = MOST_BOXES) -> None:
        """Make ROIs for the findings with the highest scores, and for no others."""
        import slicer

        ranked = sorted(self.findings, key=lambda finding: -finding.score)
        wanted = {finding.box.name for finding in ranked if finding.review != "rejected"}
        kept = [finding.box.name for finding in ranked if finding.box.name in wanted][:most]
        scene = slicer.mrmlScene
        scene.StartState(slicer.vtkMRMLScene.BatchProcessState)  # selectors and views look once, not at every node
        try:
            for name, roi in self.boxes().items():
                if name not in kept:
                    scene.RemoveNode(roi)
            existing = self.boxes()
            for name in kept:
                if name not in existing:
                    self._make_box(name)
        finally:
            scene.EndState(slicer.vtkMRMLScene.BatchProcessState)
        self._show()
        self._observe()

    def edit_box(self, name: str) -> Any:
        """The ROI of a finding with handles to move, resize and turn it; made if there is none."""
        boxes = self.boxes()
        roi = boxes.get(name) or self._make_box(name)
        for other in boxes.values():
            other.GetDisplayNode().SetHandlesInteractive(False)
            other.SetLocked(True)
        roi.SetLocked(False)
        display = roi.GetDisplayNode()
        display.SetVisibility(True)
        display.SetHandlesInteractive(True)
        display.SetScaleHandleVisibility(True)
        display.SetRotationHandleVisibility(True)
        self._observe()
        return roi

    def boxes(self) -> dict[str, Any]:
        """The ROI nodes by the names of their findings."""
        return {roi.GetAttribute(roi_nodes.FINDING): roi for roi in _rois_of(self.points)}

    def position(self, name: str) -> np.ndarray:
        """The centre (3,) of a finding in world coordinates, where it is displayed."""
        number = [finding.box.name for finding in self.findings].index(name)
        world = [0.0, 0.0, 0.0]
        self.points.GetNthControlPointPositionWorld(number, world)
        return np.array(world)

    def from_world(self, position: Sequence[float] | np.ndarray) -> np.ndarray:
        """A displayed position in the space of the findings."""
        local = [0.0, 0.0, 0.0]
        self.points.TransformPointFromWorld([float(value) for value in position], local)
        return np.array(local)

    def absorb(self) -> bool:
        """Take over what users have done to ROIs and points; returns whether there was anything."""
        boxes = self.boxes()
        changed = []
        same_points = self.points.GetNumberOfControlPoints() == len(self.findings)
        for number, finding in enumerate(self.findings):
            box = finding.box
            if same_points:
                center = np.array(self.points.GetNthControlPointPosition(number))
                if np.abs(center - box.center).max() > 1e-3:
                    box = replace(box, center=center)
            if box is finding.box and box.name in boxes:
                drawn = roi_nodes.box_from_roi(boxes[box.name], box)
                if (drawn.size > 0).all() and roi_nodes.differs(drawn, box):
                    box = drawn
            changed.append(finding if box is finding.box else replace(finding, box=box, mask=None))
        if all(one is other for one, other in zip(changed, self.findings, strict=True)):
            return False
        self.findings = tuple(changed)
        return True

    def _make_box(self, name: str) -> Any:
        finding = self.find(name)
        assert finding is not None, name
        roi = roi_nodes.roi_from_box(finding.box, color_of(finding), self.points.GetTransformNodeID())
        roi.SetNodeReferenceID(_POINTS, self.points.GetID())
        return roi

    def _write(self, table: bool = True) -> None:
        """Bring all nodes in line with the findings."""
        import slicer

        self._writing = True
        try:
            if table:
                # Whoever typed into the table is still at work in it: it must outlive this call.
                self._previous_table = self.table.GetTable()
                write_table(self.findings, self.table)
            write_points(self.points, self.findings)
            known = {finding.box.name: finding for finding in self.findings}
            for name, roi in self.boxes().items():
                if name not in known:
                    slicer.mrmlScene.RemoveNode(roi)
                elif roi_nodes.differs(roi_nodes.box_from_roi(roi, known[name].box), known[name].box):
                    roi_nodes.move_roi(roi, known[name].box)
            self._show()
            self._observe()
        finally:
            self._writing = False

    def _show(self) -> None:
        """Visibility and colour of points and ROIs."""
        was, self._writing = self._writing, True
        try:
            shown = [self.is_shown(finding) for finding in self.findings]
            show_points(self.points, self.findings, shown)
            boxes = self.boxes()
            for finding, visible in zip(self.findings, shown, strict=True):
                if finding.box.name in boxes:
                    display = boxes[finding.box.name].GetDisplayNode()
                    display.SetVisibility(visible and finding.review != "rejected")
                    display.SetSelectedColor(*color_of(finding))
        finally:
            self._writing = was

    def _observe(self) -> None:
        """Follow the point list, the table and all ROIs that there are now."""
        import slicer
        import vtk

        current = {node.GetID(): node for node in (self.points, self.table, *self.boxes().values())}
        for node_id in set(self._observed) - set(current):
            node, tags = self._observed.pop(node_id)
            for tag in tags:
                node.RemoveObserver(tag)
        for node_id in set(current) - set(self._observed):
            node = current[node_id]
            events = [vtk.vtkCommand.ModifiedEvent]
            if node.IsA("vtkMRMLMarkupsNode"):
                events.append(slicer.vtkMRMLMarkupsNode.PointModifiedEvent)
            self._observed[node_id] = node, [node.AddObserver(event, self._node_changed) for event in events]

    def _node_changed(self, node: Any, event: str) -> None:
        if self._writing:
            return
        before = self.findings
        if node is not self.points and node is not self.table:
            if self._box_changed(node):
                self.on_edited(before)
        elif self._table_changed() if node is self.table else self.absorb():
            self._write()
            self.on_edited(before)

    def _box_changed(self, roi: Any) -> bool:
        """Take over a ROI that is being dragged, which comes many times a second: the others are not looked at."""
        name = roi.GetAttribute(roi_nodes.FINDING)
        number = next((n for n, finding in enumerate(self.findings) if finding.box.name == name), -1)
        if number < 0:
            return False
        drawn = roi_nodes.box_from_roi(roi, self.findings[number].box)
        if (drawn.size <= 0).any() or not roi_nodes.differs(drawn, self.findings[number].box):
            return False
        changed = replace(self.findings[number], box=drawn, mask=None)
        self.findings = (*self.findings[:number], changed, *self.findings[number + 1 :])
        self._writing = True
        try:
            self.points.SetNthControlPointPosition(number, *map(float, drawn.center))
            update_row(self.table, number, changed)
        finally:
            self._writing = False
        return True

    def _table_changed(self) -> bool:
        """Somebody has typed into the table, in Slicer's Tables module; what cannot be read is put back."""
        try:
            found = with_names(read_table(self.table))
        except UserError:
            return True
        rows = [[_facts_of(finding) for finding in some] for some in (found, self.findings)]
        if rows[0] == rows[1]:
            return False
        self.findings = found
        return True


def _rois_of(points: Any) -> list[Any]:
    import slicer

    rois = [roi for roi in slicer.util.getNodesByClass("vtkMRMLMarkupsROINode") if roi.GetAttribute(roi_nodes.FINDING)]
    return [roi for roi in rois if roi.GetNodeReferenceID(_POINTS) == points.GetID()]


def _facts_of(finding: Finding) -> tuple:
    box = finding.box
    numbers = (*box.center, *box.size, *box.axes.ravel())
    return box.name, box.class_name, box.score, finding.review, *numbers, *sorted(finding.facts.items())
