"""Bundles in the style of MONAI's zoo give exactly the voxels of MONAI's runner, also on rotated or mirrored grids."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import zoo_bundles
from MedDeepLib.bundles.foreign.inspection import read_bundle
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context
from MedDeepLib.data.geometry import affines_match
from MedDeepLib.data.sources.image import read_image
from MedDeepLib.data.sources.labels import read_segmentation
from MedDeepLib.errors import UserError
from MedDeepLib.evaluation.overlap import mean_dice
from zoo_bundles import GRIDS, write_bundle, write_cases


def apply(folder: Path, files: list[Path], **options):
    """The prediction of a bundle, and the messages about it."""
    said = []
    context = Context(torch.device("cpu"), report=lambda event, **fields: said.append(fields.get("message", "")))
    model = open_model(folder, "segment")
    method = model.make_method()
    predictor = method.predictor(model, context, method.ApplyParameters(**options))
    return predictor.predict([read_image(file) for file in files], context), said


def run_monai_here(folder: Path, **overrides) -> None:
    """MONAI's runner in this process; test_exported tests its command line."""
    import monai.bundle

    before = Path.cwd()
    os.chdir(folder)
    try:
        monai.bundle.run(config_file="configs/inference.json", bundle_root=str(folder), **overrides)
    finally:
        os.chdir(before)


def monais_labels(output: Path, name: str) -> np.ndarray:
    (file,) = output.rglob(f"{name}_0*.nii.gz")
    return np.asarray(nibabel.load(file).dataobj)


def truth() -> np.ndarray:
    return zoo_bundles.balls(9)[1]


def test_one_structure(spleen_bundle, tmp_path):
    data = write_cases(tmp_path / "data")
    run_monai_here(spleen_bundle, dataset_dir=str(data), output_dir=str(tmp_path / "out"))
    for name, affine in GRIDS.items():
        prediction, said = apply(spleen_bundle, [data / f"{name}_0.nii.gz"])
        expected = monais_labels(tmp_path / "out", name)
        assert expected.sum() > 500 and np.array_equal(prediction.labels, expected), name
        assert [segment.name for segment in prediction.classes] == ["spleen"]
        assert any("2 x 2 x 2 mm" in sentence for sentence in said)
        prediction.write(tmp_path / "a.seg.nrrd")
        labels, written, segments = read_segmentation(tmp_path / "a.seg.nrrd")
        assert np.array_equal(labels, expected) and affines_match(written, affine, labels.shape)
        assert segments[0].name == "spleen" and len(set(segments[0].color)) > 1
    assert mean_dice(apply(spleen_bundle, [data / "oblique_0.nii.gz"])[0].labels, truth()[0], [1]) > 0.7


def test_several_structures_and_labels_before_the_inversion(organs_bundle, tmp_path):
    """Labels take the nearest voxel, and positions are often half-way between two: the last digit counts."""
    data = write_cases(tmp_path / "data")
    run_monai_here(organs_bundle, dataset_dir=str(data), output_dir=str(tmp_path / "out"))
    for name in GRIDS:
        prediction, _ = apply(organs_bundle, [data / f"{name}_0.nii.gz"])
        expected = monais_labels(tmp_path / "out", name)
        assert np.array_equal(prediction.labels, expected), name
    assert len(np.unique(prediction.labels)) > 2
    assert [s.name for s in prediction.classes] == ["liver", "left kidney", "aorta"]


def test_overlapping_structures_of_four_inputs(brats_bundle, tmp_path):
    data = write_cases(tmp_path / "data", channels=4)
    run_monai_here(brats_bundle, dataset_dir=str(data), output_dir=str(tmp_path / "out"))
    assert open_model(brats_bundle, "segment").channels == ("T1c", "T1", "T2", "FLAIR")
    for name in GRIDS:
        prediction, said = apply(brats_bundle, [data / f"{name}_{n}.nii.gz" for n in range(4)])
        core, whole, enhancing = prediction.masks
        merged = np.where(enhancing > 0, 4, np.where(core > 0, 1, np.where(whole > 0, 2, 0)))
        assert np.array_equal(merged, monais_labels(tmp_path / "out", name)), name
        assert (whole & core).sum() > 100, "they overlap"
        assert any("merges its 3 overlapping structures" in sentence for sentence in said)
    assert mean_dice(whole, truth()[0], [1]) > 0.7 and mean_dice(core, truth()[1], [1]) > 0.6
    prediction.write(tmp_path / "a.nii.gz")
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").array, prediction.masks)


def test_the_order_of_inputs_is_the_bundles(brats_bundle, tmp_path):
    data = write_cases(tmp_path / "data", channels=4)
    files = [data / f"oblique_{n}.nii.gz" for n in range(4)]
    right, _ = apply(brats_bundle, files)
    swapped, _ = apply(brats_bundle, files[::-1])
    assert not np.array_equal(right.masks, swapped.masks)
    with pytest.raises(UserError, match=r"needs 4 input channels \(T1c, T1, T2, FLAIR\), but 3 were given"):
        apply(brats_bundle, files[:3])


@pytest.mark.parametrize("resample", [True, False])
def test_a_result_on_the_networks_grid(spleen_bundle, tmp_path, resample):
    """Without an inversion the result is on the network's grid; MONAI's writer may resample it back."""
    config = zoo_bundles.spleen_config()
    del config["postprocessing"]["transforms"][1]
    config["postprocessing"]["transforms"][-1]["resample"] = resample
    weights = torch.load(spleen_bundle / "models" / "model.pt", weights_only=True)
    folder = write_bundle(tmp_path / "bundle", config, zoo_bundles.SPLEEN_METADATA, weights)
    data = write_cases(tmp_path / "data")
    run_monai_here(folder, dataset_dir=str(data), output_dir=str(tmp_path / "out"))
    for name in GRIDS:
        prediction, said = apply(folder, [data / f"{name}_0.nii.gz"])
        assert any("on its own grid" in sentence for sentence in said)
        if resample:
            assert np.array_equal(prediction.labels, monais_labels(tmp_path / "out", name)), name
        assert mean_dice(prediction.labels, apply(spleen_bundle, [data / f"{name}_0.nii.gz"])[0].labels, [1]) > 0.85


def test_positions_read_as_lps(spleen_bundle, tmp_path):
    """A mistake of the zoo: wrong signs flip axes, in training as well; this is kept, and the result is in place."""
    config = zoo_bundles.spleen_config()
    config["preprocessing"]["transforms"][0] |= {"reader": "ITKReader", "affine_lps_to_ras": False}
    weights = torch.load(spleen_bundle / "models" / "model.pt", weights_only=True)
    folder = write_bundle(tmp_path / "bundle", config, zoo_bundles.SPLEEN_METADATA, weights)
    assert any("LPS" in fact for fact in read_bundle(folder).facts())
    data = write_cases(tmp_path / "data")
    run_monai_here(folder, dataset_dir=str(data), output_dir=str(tmp_path / "out"))
    for name, affine in GRIDS.items():
        prediction, _ = apply(folder, [data / f"{name}_0.nii.gz"])
        assert np.array_equal(prediction.labels, monais_labels(tmp_path / "out", name)), name
        assert affines_match(prediction.affine, affine, prediction.labels.shape)


def test_other_files_than_nifti(spleen_bundle, tmp_path):
    """Slicer passes NRRD files; the same image gives the same result."""
    from MedDeepLib.data.sources.image import write_image

    data = write_cases(tmp_path / "data")
    image = read_image(data / "oblique_0.nii.gz")
    write_image(tmp_path / "a.nrrd", image.array[0], image.affine)
    first, _ = apply(spleen_bundle, [data / "oblique_0.nii.gz"])
    second, _ = apply(spleen_bundle, [tmp_path / "a.nrrd"])
    assert (first.labels != second.labels).mean() < 1e-4


def test_largest_component_is_an_option(spleen_bundle, tmp_path):
    data = write_cases(tmp_path / "data")
    prediction, _ = apply(spleen_bundle, [data / "oblique_0.nii.gz"], largest_component=True)
    from scipy import ndimage

    assert ndimage.label(prediction.labels, np.ones((3, 3, 3)))[1] == 1
    whole, _ = apply(spleen_bundle, [data / "oblique_0.nii.gz"])
    removed = int((whole.labels > 0).sum()) - int((prediction.labels > 0).sum())
    assert ("pieces were removed: " in prediction.in_words()) == bool(removed)
    assert not whole.in_words(), "by itself the bundle's own post-processing is all"


def test_the_script_takes_folders_and_archives(spleen_bundle, segment, tmp_path):
    from MedDeepLib.bundles.transfer import export_bundle

    data = write_cases(tmp_path / "data")
    archive = export_bundle(spleen_bundle, tmp_path / "spleen.zip")
    results = []
    for model in (spleen_bundle, archive):
        output = tmp_path / f"{model.stem}_out.seg.nrrd"
        code, out, errors = segment(
            "apply", "--model", model, "--input", data / "flat_0.nii.gz", "--output", output, "--device", "cpu"
        )
        assert (code, errors) == (0, "") and "2 x 2 x 2 mm" in out
        results.append(read_segmentation(output)[0])
    assert np.array_equal(*results) and results[0].any()


def test_bundles_of_other_tasks_say_so(tmp_path):
    for config, metadata, task, module in (
        (zoo_bundles.classification_config(), zoo_bundles.CLASSIFICATION_METADATA, "classify", "Classification"),
        (zoo_bundles.detection_config(), zoo_bundles.DETECTION_METADATA, "detect", "Detection"),
    ):
        folder = write_bundle(tmp_path / task, config, metadata)
        with pytest.raises(UserError, match=f"is for the task '{task}', .* belongs to the module Deep {module}"):
            open_model(folder, "segment")
    assert read_bundle(tmp_path / "classify").channels == ("R", "G", "B")
    findings = read_bundle(tmp_path / "detect").findings
    assert [finding.what for finding in findings] == ["scripts.detection_inferer.RetinaNetInferer"]


def test_the_detectors_parts_can_be_made(tmp_path):
    """Those that need neither the bundle's own code nor torchvision, which MONAI's feature pyramid requires."""
    from MedDeepLib.bundles.foreign.components import Attributes
    from MedDeepLib.bundles.foreign.parser import SafeParser

    bundle = read_bundle(write_bundle(tmp_path / "b", zoo_bundles.detection_config(), zoo_bundles.DETECTION_METADATA))
    parser = SafeParser(dict(bundle.config), Attributes(bundle.folder, torch.device("cpu")), bundle.imports())
    assert type(parser.get_parsed_content("anchor_generator")).__name__ == "AnchorGeneratorWithAnchorShape"
    assert type(parser.get_parsed_content("backbone")).__name__ == "ResNet"
