"""Reads and writes files for ``slicer.util.load*`` and ``slicer.util.save*`` when there is no Qt application.

It has the methods of the application's IO manager that ``slicer.util`` calls, and does the work with the
same MRML storage nodes and module logics as the application.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

# File type -> the endings it is recognised by; the first match wins, so longer endings come before shorter
# ones.
FILE_ENDINGS: dict[str, tuple[str, ...]] = {
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr", ".seg.vtm"),
    "MarkupsFile": (".mrk.json", ".fcsv"),
    "TransformFile": (".h5", ".tfm", ".mat"),
    "ModelFile": (".vtk", ".vtp", ".stl", ".ply", ".obj"),
    "TableFile": (".csv", ".tsv"),
    "ColorTableFile": (".ctbl",),
    "SceneFile": (".mrml", ".mrb"),
    "TextFile": (".txt", ".json", ".xml"),
}

# File types whose node is created here and filled by its storage node.
STORAGE_NODE_TYPES = {
    "TableFile": "vtkMRMLTableNode",
    "TextFile": "vtkMRMLTextNode",
    "ColorTableFile": "vtkMRMLColorTableNode",
}

# Bits of vtkSlicerVolumesLogic::LoadingOptions.
LABEL_MAP_OPTION = 1
CENTER_IMAGE_OPTION = 2
SINGLE_FILE_OPTION = 4


class IOManager:
    """Loads files into ``slicer.mrmlScene`` and saves its nodes; False means failure, as in Slicer."""

    def fileType(self, file_name: str) -> str:
        """The file type, for instance ``"VolumeFile"``, that the ending of a file name stands for."""
        lower_name = str(file_name).lower()
        for file_type, endings in FILE_ENDINGS.items():
            if lower_name.endswith(endings):
                return file_type
        return "VolumeFile"

    def fileWriterFileType(self, node: Any) -> str:
        return node.GetClassName()

    def loadNodes(
        self,
        file_type: str,
        properties: dict[str, Any],
        loaded_nodes: Any = None,
        user_messages: Any = None,
    ) -> bool:
        """Load one file, or the series ``properties["fileNames"]``, and add its node to ``loaded_nodes``."""
        file_name = str(properties["fileName"])
        if file_type == "SceneFile":
            return _load_scene(file_name, bool(properties.get("clear", False)))
        if file_type in STORAGE_NODE_TYPES:
            loader: Callable[..., Any] = _load_with_storage_node
        elif file_type in LOADERS:
            loader = LOADERS[file_type]
        else:
            raise ValueError(f"there is no reader for the file type {file_type}")
        name = properties.get("name") or _base_name(file_name)
        node = loader(file_type, file_name, name, properties, user_messages)
        if node is None:
            return False
        if loaded_nodes is not None:
            loaded_nodes.AddItem(node)
        return True

    def saveNodes(self, file_type: str, properties: dict[str, Any], user_messages: Any = None) -> bool:
        """Save the node ``properties["nodeID"]``, or the whole scene, to ``properties["fileName"]``."""
        import slicer

        file_name = str(properties["fileName"])
        if file_type == "SceneFile":
            return _save_scene(file_name)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        storage_node = _storage_node_for_writing(node, file_name)
        storage_node.SetFileName(file_name)
        storage_node.SetUseCompression(int(properties.get("useCompression", True)))
        return bool(storage_node.WriteData(node))


def _base_name(file_name: str) -> str:
    return Path(file_name).name.split(".")[0]


def _load_scene(file_name: str, clear: bool) -> bool:
    import slicer

    scene = slicer.mrmlScene
    if file_name.lower().endswith(".mrb"):
        return bool(scene.ReadFromMRB(file_name, clear))
    scene.SetURL(file_name)
    return bool(scene.Connect() if clear else scene.Import())


def _save_scene(file_name: str) -> bool:
    import slicer

    scene = slicer.mrmlScene
    scene.SetURL(file_name)
    scene.SetRootDirectory(str(Path(file_name).resolve().parent))
    return bool(scene.WriteToMRB(file_name) if file_name.lower().endswith(".mrb") else scene.Commit())


def _load_volume(file_type: str, file_name: str, name: str, properties: dict, user_messages: Any) -> Any:
    import slicer
    import vtk

    options = (
        (LABEL_MAP_OPTION if properties.get("labelmap") else 0)
        | (CENTER_IMAGE_OPTION if properties.get("center") else 0)
        | (SINGLE_FILE_OPTION if properties.get("singleFile") else 0)
    )
    file_names = None
    if properties.get("fileNames"):
        file_names = vtk.vtkStringArray()
        for series_file in properties["fileNames"]:
            file_names.InsertNextValue(str(series_file))
    return slicer.modules.volumes.logic().AddArchetypeVolume(file_name, name, options, file_names)


def _load_markups(file_type: str, file_name: str, name: str, properties: dict, user_messages: Any) -> Any:
    import slicer

    node_id = slicer.modules.markups.logic().LoadMarkups(file_name, name, user_messages)
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None


def _load_transform(file_type: str, file_name: str, name: str, properties: dict, user_messages: Any) -> Any:
    import slicer

    return slicer.modules.transforms.logic().AddTransform(file_name, slicer.mrmlScene)


def _load_segmentation(file_type: str, file_name: str, name: str, properties: dict, user_messages: Any) -> Any:
    import slicer

    return slicer.modules.segmentations.logic().LoadSegmentationFromFile(file_name, True, name)


def _load_model(file_type: str, file_name: str, name: str, properties: dict, user_messages: Any) -> Any:
    import slicer

    return slicer.modules.models.logic().AddModel(file_name, 1, user_messages)


def _load_with_storage_node(file_type: str, file_name: str, name: str, properties: dict, user_messages: Any) -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass(STORAGE_NODE_TYPES[file_type], name)
    storage_node = slicer.mrmlScene.AddNewNodeByClass(_storage_class_name(node, file_name))
    storage_node.SetFileName(file_name)
    node.SetAndObserveStorageNodeID(storage_node.GetID())
    if storage_node.ReadData(node):
        return node
    slicer.mrmlScene.RemoveNode(storage_node)
    slicer.mrmlScene.RemoveNode(node)
    return None


LOADERS: dict[str, Callable[..., Any]] = {
    "VolumeFile": _load_volume,
    "MarkupsFile": _load_markups,
    "TransformFile": _load_transform,
    "SegmentationFile": _load_segmentation,
    "ModelFile": _load_model,
}


def _storage_class_name(node: Any, file_name: str) -> str:
    if file_name.lower().endswith(".fcsv"):
        return "vtkMRMLMarkupsFiducialStorageNode"
    # Text nodes name no default storage class unless the text is long.
    return node.GetDefaultStorageNodeClassName(file_name) or "vtkMRMLTextStorageNode"


def _storage_node_for_writing(node: Any, file_name: str) -> Any:
    import slicer

    class_name = _storage_class_name(node, file_name)
    storage_node = node.GetStorageNode()
    if storage_node is None or not storage_node.IsA(class_name):
        storage_node = slicer.mrmlScene.AddNewNodeByClass(class_name)
        node.SetAndObserveStorageNodeID(storage_node.GetID())
    return storage_node
