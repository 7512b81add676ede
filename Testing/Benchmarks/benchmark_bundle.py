"""Applying a bundle from elsewhere: our time against that of MONAI's runner, for the same stages in one process.

A bundle in the style of MONAI's zoo with a network and a volume of typical size. Both do the same: preprocessing,
sliding window, postprocessing on the image's grid. Both also read and write files. Imports, building the network and
loading its weights are not measured on either side.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the worker; before torch is loaded
_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / name) for name in ("MedDeepExtension", "SegmentModule", "Testing/Python")]

import nibabel  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import zoo_bundles  # noqa: E402
from MedDeepLib.bundles.model import open_model  # noqa: E402
from MedDeepLib.core import Context  # noqa: E402
from MedDeepLib.data.sources.image import read_image, write_image  # noqa: E402
from MedDeepLib.devices import torch_device  # noqa: E402
from monai.bundle import ConfigWorkflow  # noqa: E402

MOST_OVER_MONAI = 1.1
SHAPE = (160, 160, 96)


def main() -> int:
    options = _parser().parse_args()
    device, sentence = torch_device(options.device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = zoo_bundles.spleen_config()
        config["network_def"] |= {"channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2], "num_res_units": 2}
        config["inferer"]["roi_size"] = [96, 96, 96]
        bundle = zoo_bundles.write_bundle(folder / "bundle", config, zoo_bundles.SPLEEN_METADATA, _weights(config))
        image, _ = zoo_bundles.balls(1, SHAPE)
        write_image(folder / "data" / "case.nii.gz", image[0], zoo_bundles.oblique_affine((1.2, 1.2, 2.5)))
        monai = _monais_way(bundle, folder, device)
        ours = _our_way(bundle, folder, device)
        seconds: dict[str, list[float]] = {"MONAI": [], "ours": []}
        for turn in range(options.repeats + 1):
            for name, way in (("MONAI", monai), ("ours", ours)):
                began = time.perf_counter()
                way()
                if turn:  # the first turn is a warm-up
                    seconds[name].append(time.perf_counter() - began)
        theirs = np.asarray(nibabel.load(next((folder / "monai").rglob("*.nii.gz"))).dataobj)
        same = np.array_equal(theirs, read_image(folder / "ours.nii.gz").array[0])
    # Each of our runs against MONAI's run beside it: other load on the computer affects both alike.
    ratio = median(o / m for o, m in zip(seconds["ours"], seconds["MONAI"], strict=True))
    print(
        f"{sentence} {torch.get_num_threads()} threads, {options.repeats} repeats, {'x'.join(map(str, SHAPE))} voxels."
    )
    for name, values in seconds.items():
        print(f"  {name:6} {median(values):8.3f} s")
    print(f"the same voxels: {'yes' if same else 'NO'}")
    good = ratio <= MOST_OVER_MONAI
    print(f"ours / MONAI's runner {ratio:22.3f}  (at most {MOST_OVER_MONAI})  {'ok' if good else 'MISSED'}")
    return 0 if good and same else 1


def _weights(config: dict) -> dict:
    from monai.bundle import ConfigParser

    torch.manual_seed(0)
    return ConfigParser(dict(config)).get_parsed_content("network_def").state_dict()


def _monais_way(bundle: Path, folder: Path, device: torch.device):
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(bundle),
        dataset_dir=str(folder / "data"),
        output_dir=str(folder / "monai"),
        device=device,
    )
    workflow.initialize()
    workflow.parser.get_parsed_content("checkpointloader")(workflow.parser.get_parsed_content("evaluator"))
    return workflow.parser.get_parsed_content("evaluator").run


def _our_way(bundle: Path, folder: Path, device: torch.device):
    model = open_model(bundle, "segment")
    method = model.make_method()
    context = Context(device)
    predictor = method.predictor(model, context, method.ApplyParameters())

    def apply() -> None:
        prediction = predictor.predict([read_image(folder / "data" / "case.nii.gz")], context)
        prediction.write(folder / "ours.nii.gz")

    return apply


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
