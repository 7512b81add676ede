"""The inference.json of our segmentation models, in the style of MONAI's zoo; needs neither torch nor MONAI."""

from __future__ import annotations

from typing import Any

from MedDeepLib.core import to_mapping

from SegmentModuleLib.parameters import ApplyParameters


def inference_config(metadata: dict[str, Any]) -> dict[str, Any]:
    """``metadata`` are the model's own: method, parameters, channels, classes."""
    several = len(metadata["channels"]) > 1
    largest = max(entry["value"] for entry in metadata["classes"])
    files = {
        "data_list_file_path": "$@bundle_root + '/configs/datalist.json'",
        "datalist": "$monai.data.load_decathlon_datalist(@data_list_file_path, is_segmentation=False, "
        "data_list_key='testing', base_dir=@dataset_dir)",
        "data": "@datalist",
    }
    if not several:
        files = {
            "file_pattern": "*.nii.gz",
            "datalist": "$list(sorted(glob.glob(os.path.join(@dataset_dir, @file_pattern))))",
            "data": "$[{'image': i} for i in @datalist]",
        }
    data = files.pop("data")
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "output_ext": ".nii.gz",
        "output_dtype": "uint8" if largest < 256 else "uint16",
        "output_postfix": "seg",
        "separate_folder": False,
        **files,
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "SegmentModuleLib.exported.make_network",
            "method": metadata["method"],
            "parameters": metadata["parameters"],
            "channels": len(metadata["channels"]),
            "classes": len(metadata["classes"]),
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "MedDeepLib.bundles.exported.ReadImaged", "keys": "image"}],
        },
        "dataset": {"_target_": "Dataset", "data": data, "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {
            "_target_": "SegmentModuleLib.exported.LabelInferer",
            "bundle_root": "@bundle_root",
            **to_mapping(ApplyParameters()),
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_ext": "@output_ext",
                    "output_dtype": "@output_dtype",
                    "output_postfix": "@output_postfix",
                    "separate_folder": "@separate_folder",
                    "resample": False,
                }
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"network": "@network"},
                "map_location": "cpu",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }
