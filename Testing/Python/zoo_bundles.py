"""Bundles in the style of MONAI's model zoo, with small networks that were trained for seconds on images of balls.

The configurations are shaped like the zoo's: imports, expressions, references, handlers that are never run here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
SHAPE = (32, 30, 24)


def balls(number: int, shape=SHAPE, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Image (C, I, J, K) and masks (3, I, J, K): three nested balls of rising intensity in a body in air."""
    random = np.random.default_rng(number)
    grid = np.indices(shape)
    center = (np.array(shape) - 1) / 2 + random.uniform(-2, 2, 3)
    distance = np.sqrt(((grid - center[:, None, None, None]) ** 2).sum(0))
    body = ((grid - (np.array(shape)[:, None, None, None] - 1) / 2) ** 2).sum(0) < (min(shape) * 0.48) ** 2
    masks = np.stack([distance < radius for radius in (8.5, 6.5, 4.0)])
    image = random.normal(0, 4, (channels, *shape))
    image += 60 * body
    for mask, brightness in zip(masks, (40, 50, 60), strict=True):
        image += brightness * mask
    for channel in range(channels):
        image[channel] *= 1 + 0.1 * channel
    return image.astype(np.float32), masks.astype(np.uint8)


def oblique_affine(spacing=(1.5, 1.7, 2.4), angle=0.3, left_handed=False) -> np.ndarray:
    """A rotated grid with anisotropic voxels; its axes run to the left and back, and down if left-handed."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
    affine = np.eye(4)
    signs = np.diag([-1.0, -1.0, -1.0 if left_handed else 1.0])
    affine[:3, :3] = turn @ tilt @ signs @ np.diag(spacing)
    affine[:3, 3] = (31.5, -12.25, 7.0)
    return affine


def spleen_config(**changes) -> dict:
    """The shape of the zoo's spleen_ct_segmentation, with a smaller network."""
    config = {
        "imports": ["$import glob", "$import numpy", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "output_ext": ".nii.gz",
        "output_dtype": "$numpy.float32",
        "output_postfix": "trans",
        "separate_folder": True,
        "load_pretrain": True,
        "dataset_dir": "/workspace/data/Task09_Spleen",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 2,
            "channels": [8, 16],
            "strides": [2],
            "num_res_units": 1,
            "norm": "batch",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"},
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "@image_key",
                    "a_min": 0,
                    "a_max": 220,
                    "b_min": 0,
                    "b_max": 1,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", "keys": "@image_key"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 24], "sw_batch_size": 4, "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "@image_key",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_ext": "@output_ext",
                    "output_dtype": "@output_dtype",
                    "output_postfix": "@output_postfix",
                    "separate_folder": "@separate_folder",
                },
            ],
        },
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "initialize": [
            "$monai.utils.set_determinism(seed=123)",
            "$@checkpointloader(@evaluator) if @load_pretrain else None",
        ],
        "run": ["$@evaluator.run()"],
    }
    return config | changes


def organs_config() -> dict:
    """The shape of the zoo's wholeBody_ct_segmentation: options, nearest neighbour, labels before the inversion."""
    config = spleen_config()
    config |= {
        "displayable_configs": {"highres": True, "sw_overlap": 0.25, "sw_batch_size": 1},
        "pixdim": "$[2.0, 2.0, 2.0] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        "modelname": "$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
        "network_def": {
            "_target_": "SegResNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 4,
            "init_filters": 8,
            "blocks_down": [1, 1],
            "blocks_up": [1],
            "dropout_prob": 0.2,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [24, 24, 24],
            "sw_batch_size": "@displayable_configs#sw_batch_size",
            "overlap": "@displayable_configs#sw_overlap",
            "padding_mode": "replicate",
            "mode": "gaussian",
            "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        },
    }
    steps = config["preprocessing"]["transforms"]
    steps[3]["pixdim"] = "@pixdim"
    steps[4] = {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True}
    after = config["postprocessing"]["transforms"]
    after[1]["nearest_interp"] = True
    after[1], after[2] = after[2], after[1]
    config["checkpointloader"]["load_path"] = "$@bundle_root + '/models/' + @modelname"
    config["initialize"] = ["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@checkpointloader(@evaluator)"]
    return config


def brats_config() -> dict:
    """The shape of the zoo's brats_mri_segmentation: four inputs, three overlapping outputs, merged at the end."""
    config = spleen_config()
    config |= {
        "ckpt_dir": "$@bundle_root + '/models'",
        "data_list_file_path": "$@bundle_root + '/configs/datalist.json'",
        "test_datalist": "$monai.data.load_decathlon_datalist(@data_list_file_path, data_list_key='testing', "
        "base_dir=@dataset_dir)",
        "amp": True,
        "network_def": {
            "_target_": "SegResNet",
            "blocks_down": [1, 1],
            "blocks_up": [1],
            "init_filters": 8,
            "in_channels": 4,
            "out_channels": 3,
            "dropout_prob": 0.2,
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "image_only": False},
                {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 24], "sw_batch_size": 1, "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "meta_keys": "pred_meta_dict",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
                {
                    "_target_": "Lambdad",
                    "keys": "pred",
                    "func": "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, "
                    "2, 0)))",
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "meta_keys": "pred_meta_dict",
                    "output_dir": "@output_dir",
                    "output_postfix": "seg",
                    "output_dtype": "uint8",
                    "resample": False,
                    "squeeze_end_dims": True,
                },
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            },
            {"_target_": "StatsHandler", "iteration_log": False},
        ],
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
    }
    config["dataset"]["data"] = "@test_datalist"
    del config["checkpointloader"]
    return config


def classification_config() -> dict:
    """The shape of the zoo's endoscopic_inbody_classification."""
    config = spleen_config()
    config["network_def"] = {"_target_": "SEResNet50", "spatial_dims": 2, "in_channels": 3, "num_classes": 2}
    config["preprocessing"]["transforms"] = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Resized", "keys": "image", "spatial_size": [256, 256], "mode": "bilinear"},
    ]
    config["inferer"] = {"_target_": "SimpleInferer"}
    config["postprocessing"]["transforms"] = [
        {"_target_": "AsDiscreted", "argmax": True, "to_onehot": 2, "keys": ["pred"]}
    ]
    return config


def detection_config() -> dict:
    """The shape of the zoo's lung_nodule_ct_detection, which has its own code in ``scripts``."""
    config = spleen_config()
    config |= {
        "anchor_generator": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
            "feature_map_scales": [1, 2, 4],
            "base_anchor_shapes": [[6, 8, 4], [8, 6, 5], [10, 10, 6]],
        },
        "backbone": "$monai.networks.nets.resnet.resnet50(spatial_dims=3,n_input_channels=1,conv1_t_stride=[2,2,1])",
        "feature_extractor": "$monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor(@backbone,"
        "3,False,[1,2],None)",
        "network_def": {
            "_target_": "RetinaNet",
            "spatial_dims": 3,
            "num_classes": 1,
            "num_anchors": 3,
            "feature_extractor": "@feature_extractor",
            "size_divisible": [16, 16, 8],
        },
        "detector": {
            "_target_": "RetinaNetDetector",
            "network": "@network",
            "anchor_generator": "@anchor_generator",
            "debug": False,
        },
        "inferer": {"_target_": "scripts.detection_inferer.RetinaNetInferer", "detector": "@detector"},
    }
    return config


def metadata(name: str, inputs: dict[str, str], outputs: dict[str, str], **pred) -> dict:
    """Metadata in the zoo's form."""
    shape = {"spatial_shape": [24, 24, 24], "dtype": "float32", "value_range": [0, 1], "is_patch_data": True}
    image = {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": len(inputs), **shape}
    scores = {"type": "image", "format": "segmentation", "num_channels": len(outputs), **shape}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20220324.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": "complete the model package"},
        "monai_version": "1.4.0",
        "pytorch_version": "2.4.0",
        "numpy_version": "1.24.4",
        "optional_packages_version": {"nibabel": "5.2.1", "pytorch-ignite": "0.4.11"},
        "name": name,
        "task": "test",
        "description": "Finds balls.",
        "authors": "nobody",
        "copyright": "none",
        "data_source": "balls",
        "data_type": "nibabel",
        "intended_use": "This is an example, not to be used for diagnostic purposes",
        "network_data_format": {
            "inputs": {"image": image | {"channel_def": inputs}},
            "outputs": {"pred": scores | {"channel_def": outputs} | pred},
        },
    }


SPLEEN_METADATA = metadata("Spleen segmentation", {"0": "image"}, {"0": "background", "1": "spleen"})
ORGANS_METADATA = metadata(
    "Organs", {"0": "image"}, {"0": "background", "1": "liver", "2": "left kidney", "3": "aorta"}
)
BRATS_METADATA = metadata(
    "BraTS MRI segmentation",
    {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"},
    {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"},
)
CLASSIFICATION_METADATA = metadata(
    "Inbody", {"0": "R", "1": "G", "2": "B"}, {"0": "in body", "1": "out body"}, type="probabilities", format="classes"
)
DETECTION_METADATA = metadata("Nodules", {"0": "image"}, {"0": "nodule"}, type="object", format="dict", channel_def={})


def write_bundle(folder: Path, config: dict, content: dict, weights: dict | None = None) -> Path:
    """Write the files of a bundle; ``weights`` are a state dictionary."""
    import torch

    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(config, indent=4), encoding="utf-8")
    (folder / "configs" / "metadata.json").write_text(json.dumps(content, indent=4), encoding="utf-8")
    (folder / "docs" / "README.md").write_text("# A test\n", encoding="utf-8")
    if weights is not None:
        torch.save(weights, folder / "models" / "model.pt")
    return folder


def train_network(config: dict, targets: str, steps: int = 60) -> dict:
    """Weights of the configuration's network after seconds of training on its own preprocessing.

    ``targets``: "one" (the largest ball), "all" (labels 0 to 3) or "overlapping" (core, whole, enhancing).
    """
    import torch
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    parser = ConfigParser(config | {"bundle_root": "."})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def").train()
    channels = config["network_def"]["in_channels"]
    steps_before = parser.get_parsed_content("preprocessing").transforms
    steps_before = [step for step in steps_before if type(step).__name__ not in ("LoadImaged", "EnsureChannelFirstd")]
    images, masks = [], []
    for number in range(4):
        image, mask = balls(number, channels=channels)
        data = {"image": MetaTensor(torch.from_numpy(image), affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0])))}
        for step in steps_before:
            data = step(data)
        images.append(data["image"].as_tensor())
        masks.append(torch.from_numpy(mask))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for step in range(steps):
        x, m = images[step % 4][None], masks[step % 4][None].float()
        scores = network(x)
        if targets == "overlapping":
            weight = torch.full((1, 3, 1, 1, 1), 4.0)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, m[:, [1, 0, 2]], pos_weight=weight)
        else:
            labels = (m[:, 0] if targets == "one" else m.sum(1)).long()
            weight = torch.tensor([1.0, *[4.0] * (scores.shape[1] - 1)])
            loss = torch.nn.functional.cross_entropy(scores, labels, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().state_dict()


def run_monai(folder: Path, *arguments: str) -> str:
    """Run ``python -m monai.bundle run`` on a bundle in a separate process; returns its output."""
    path = os.pathsep.join(str(REPOSITORY / name) for name in ("MedDeepExtension", "SegmentModule"))
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    result = subprocess.run(
        [*command, "--bundle_root", str(folder), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


# Rotated, mirrored and flat grids, on which mistakes in axes and signs show.
GRIDS = {
    "oblique": oblique_affine(),
    "lefthanded": oblique_affine(left_handed=True),
    "flat": oblique_affine((1.0, 1.3, 4.0), angle=1.2),
}


def write_cases(folder: Path, channels: int = 1) -> Path:
    """Images of one scene on every grid, ``NAME_CHANNEL.nii.gz``."""
    from MedDeepLib.data.sources.image import write_image

    for name, affine in GRIDS.items():
        image, _ = balls(9, channels=channels)
        for channel in range(channels):
            write_image(folder / f"{name}_{channel}.nii.gz", image[channel], affine)
    return folder
