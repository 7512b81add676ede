"""Malicious bundles, through the script: refused with a sentence, nothing is run, nothing is left behind."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from MedDeepLib.bundles.foreign.inspection import read_bundle
from MedDeepLib.bundles.foreign.trust import is_trusted, seems_trusted, trust, withdraw
from MedDeepLib.bundles.foreign.trust_question import NotTrusted
from MedDeepLib.bundles.foreign.workflow import Workflow
from MedDeepLib.bundles.model import open_model
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.errors import UserError
from zoo_bundles import SPLEEN_METADATA, balls, oblique_affine, spleen_config, write_bundle

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def weights() -> dict:
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(3, 1, 2, channels=(8, 16), strides=(2,), num_res_units=1, norm="batch").state_dict()


@pytest.fixture
def image(tmp_path) -> Path:
    write_image(tmp_path / "image.nii.gz", balls(1)[0][0], oblique_affine())
    return tmp_path / "image.nii.gz"


@pytest.fixture
def bundle(tmp_path, weights):
    """Writes a bundle with a changed configuration: by entries, or by a function that changes it."""

    def write(change=None, **entries) -> Path:
        config = spleen_config(**entries)
        if change:
            change(config)
        return write_bundle(tmp_path / "bundle", config, SPLEEN_METADATA, weights)

    return write


@pytest.fixture
def apply(segment, image, tmp_path):
    def run(model: Path, *flags) -> tuple[int, str]:
        code, _, errors = segment(
            "apply",
            "--model",
            model,
            "--input",
            image,
            "--output",
            tmp_path / "out.seg.nrrd",
            "--device",
            "cpu",
            *flags,
        )
        assert "Traceback" not in errors
        return code, errors

    return run


def system(marker: Path) -> str:
    return f"touch {marker}"


def changes_of_the_network(marker: Path) -> dict[str, object]:
    command = system(marker)
    return {
        "os.system": {"_target_": "os.system", "command": command},
        "posix.system": {"_target_": "posix.system", "command": command},
        "subprocess": {"_target_": "subprocess.run", "args": ["touch", str(marker)]},
        "eval": {"_target_": "builtins.eval", "source": f"__import__('os').system('{command}')"},
        "short eval": {"_target_": "eval", "source": f"__import__('os').system('{command}')"},
        "exec": {"_target_": "exec", "object": f"import os; os.system('{command}')"},
        "locate": {"_target_": "monai.transforms.io.array.locate", "path": "os.system"},
        "instantiate": {"_target_": "monai.utils.module.instantiate", "_mode_": "callable"},
        "run": {"_target_": "monai.bundle.scripts.run", "config_file": "x.json"},
        "os in torch": {"_target_": "torch.os.system", "command": command},
        "os in monai": {"_target_": "monai.networks.nets.hovernet.os.system", "command": command},
        "launcher": {"_target_": "MedDeepLib.jobs.launcher.launch", "folder": "x"},
        "torch.load": {"_target_": "torch.load", "f": "models/model.pt", "weights_only": False},
        "pickle": {"_target_": "pickle.loads", "data": "x"},
        "numpy": {"_target_": "numpy.load", "file": "x", "allow_pickle": True},
        "target by expression": {"_target_": f"$__import__('os').system('{command}')"},
        "target by reference": {"_target_": "@evil"},
        "debugger": {"_target_": "UNet", "_mode_": "debug", "spatial_dims": 3},
        "breakpoint": {"_target_": "UNet", "_debug_": True, "spatial_dims": 3},
        "own scripts": {"_target_": "scripts.evil.make"},
        "private": {"_target_": "monai.networks.nets.unet._private"},
        "expression": f"$__import__('os').system('{command}')",
        "getattr": "$getattr(torch, 'o' + 's').system('x')",
        "dunder": "$().__class__.__base__.__subclasses__()",
        "import": "$import subprocess",
        "hidden in arguments": {"_target_": "UNet", "spatial_dims": f"$__import__('os').system('{command}')"},
        "a list": [{"_target_": "os.system", "command": command}],
    }


@pytest.mark.parametrize("name", list(changes_of_the_network(Path("x"))))
def test_networks_that_are_none(bundle, apply, tmp_path, name):
    marker = tmp_path / "executed"
    folder = bundle(network_def=changes_of_the_network(marker)[name], evil="$torch.hub.load")
    code, errors = apply(folder)
    assert code == 2 and not marker.exists() and not (tmp_path / "out.seg.nrrd").exists()
    assert errors.count("Error:") == 1 and errors.strip().endswith(".")
    with pytest.raises(UserError):  # the worker checks for itself
        Workflow(read_bundle(folder), CPU)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["preprocessing", "postprocessing", "inferer", "device", "image_key", "imports"])
@pytest.mark.parametrize("name", ["os.system", "expression", "short eval", "dunder"])
def test_other_places(bundle, apply, tmp_path, place, name):
    marker = tmp_path / "executed"
    evil = changes_of_the_network(marker)[name]

    def change(config):
        if place in ("preprocessing", "postprocessing"):
            config[place]["transforms"].insert(0, evil)
        else:
            config[place] = [evil] if place == "imports" else evil

    code, errors = apply(bundle(change))
    assert code == 2 and not marker.exists(), errors


@pytest.mark.parametrize("place", ["initialize", "run", "finalize", "handlers", "evaluator", "datalist", "something"])
@pytest.mark.parametrize("name", ["os.system", "expression", "eval", "import"])
def test_parts_that_are_never_run_give_it_away(bundle, apply, tmp_path, place, name):
    """They are never run here, but would be elsewhere, and no legitimate bundle has them."""
    marker = tmp_path / "executed"
    evil = changes_of_the_network(marker)[name]
    code, errors = apply(bundle(**{place: [evil]}))
    assert code == 2 and "such code can read" in errors and not marker.exists()


def test_disabled_parts_are_not_made(bundle, apply):
    """They are skipped, as MONAI does, and a legitimate bundle with one of them works."""

    def change(config):
        steps = config["preprocessing"]["transforms"]
        steps.insert(2, {"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": True, "factor": "nonsense"})
        steps.insert(2, {"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": "$not False", "factor": "x"})

    assert apply(bundle(change)) == (0, "")


def test_disabled_is_no_place_to_hide(bundle, apply, tmp_path):
    marker = tmp_path / "executed"

    def change(config):
        expression = f"$__import__('os').system('{system(marker)}')"
        config["preprocessing"]["transforms"].append(
            {"_target_": "Identityd", "keys": "image", "_disabled_": expression}
        )

    code, _ = apply(bundle(change))
    assert code == 2 and not marker.exists()


def test_requirements_are_no_place_to_hide(bundle, apply, tmp_path):
    marker = tmp_path / "executed"
    expression = f"$__import__('os').system('{system(marker)}')"
    inferer = {"_target_": "SimpleInferer", "_requires_": [expression]}
    code, _ = apply(bundle(inferer=inferer))
    assert code == 2 and not marker.exists()


@pytest.mark.parametrize("reader", ["subprocess.Popen", "os.system", "builtins.eval", ["itkreader", "os.system"]])
def test_readers_are_never_looked_up(bundle, apply, reader, tmp_path):
    """MONAI imports them by name; here the image has already been read, so the name does not matter."""

    def change(config):
        config["preprocessing"]["transforms"][0] |= {"reader": reader, "args": ["touch", str(tmp_path / "executed")]}

    apply(bundle(change))
    assert not (tmp_path / "executed").exists()


def test_nothing_is_written_where_the_bundle_wants(bundle, apply, tmp_path):
    assert apply(bundle(output_dir=str(tmp_path / "elsewhere"))) == (0, "")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("place", ["preprocessing", "postprocessing"])
@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("name", ["SaveClassificationd", "SaveClassificationDict", "SimulateDelayd"])
def test_transforms_that_write_or_wait_are_not_made(bundle, apply, tmp_path, place, short, name):
    """With a name and a separator of the bundle's choice, a table could be any file with any text."""
    module = "" if short else f"monai.transforms.{'utility' if 'Delay' in name else 'post'}.dictionary."
    written = {"output_dir": str(tmp_path), "filename": "executed", "delimiter": "\necho\n", "overwrite": True}
    evil = {"_target_": module + name, "keys": "image", **({"delay_time": 60.0} if "Delay" in name else written)}
    code, errors = apply(bundle(lambda config: config[place]["transforms"].append(evil)))
    assert code == 2 and name in errors and not (tmp_path / "executed").exists(), errors


def test_files_outside_are_not_included(bundle, apply, tmp_path):
    (tmp_path / "secret.json").write_text(json.dumps({"network": {"_target_": "os.system"}}), encoding="utf-8")
    for name in (f"%{tmp_path}/secret.json", "%../secret.json::network", "%configs/../../secret.json"):
        code, errors = apply(bundle(network_def=name))
        assert code == 2 and "outside its folder" in errors
        shutil.rmtree(tmp_path / "bundle")


def test_files_inside_are_included(bundle, apply):
    folder = bundle(network_def="%configs/network.json::net")
    content = {"net": spleen_config()["network_def"]}
    (folder / "configs" / "network.json").write_text(json.dumps(content), encoding="utf-8")
    assert apply(folder) == (0, "")
    content["net"]["_target_"] = "os.system"
    (folder / "configs" / "network.json").write_text(json.dumps(content), encoding="utf-8")
    assert apply(folder)[0] == 2


def test_included_entries_do_not_grow_without_end(bundle, apply):
    big = [0] * 50_000
    code, errors = apply(bundle(big=big, more=["%big"] * 100))
    assert code == 2 and "includes itself" in errors


@pytest.mark.parametrize("file", ["inference.json", "metadata.json"])
@pytest.mark.parametrize("depth", [100, 200_000])
def test_endless_nesting(bundle, apply, file, depth):
    folder = bundle()
    path = folder / "configs" / file
    text = path.read_text(encoding="utf-8").rstrip()[:-1]
    path.write_text(text + ', "x": ' + "[" * depth + "]" * depth + "}", encoding="utf-8")
    code, errors = apply(folder)
    assert code == 2 and errors.count("Error:") == 1


def test_a_huge_configuration(bundle, apply):
    code, errors = apply(bundle(padding="x" * 11_000_000))
    assert code == 2 and "too large" in errors


def test_names_that_yaml_multiplies(bundle, apply):
    pytest.importorskip("yaml")
    folder = bundle()
    (folder / "configs" / "inference.json").unlink()
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (folder / "configs" / "inference.yaml").write_text("\n".join(lines), encoding="utf-8")
    code, errors = apply(folder)
    assert code == 2 and "more, or more deeply nested" in errors


def test_yaml_makes_no_objects(bundle, apply, tmp_path):
    folder = bundle()
    (folder / "configs" / "inference.json").unlink()
    text = f"network_def: !!python/object/apply:os.system ['touch {tmp_path}/executed']\n"
    (folder / "configs" / "inference.yaml").write_text(text, encoding="utf-8")
    assert apply(folder)[0] == 2 and not (tmp_path / "executed").exists()


class Payload:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle"])
def test_weights_that_are_a_program(bundle, apply, tmp_path, kind):
    folder, marker = bundle(), tmp_path / "executed"
    path = folder / "models" / "model.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(marker)))
    else:
        torch.save({"model": Payload(marker)}, path, _use_new_zipfile_serialization=kind == "torch")
    for flags in ((), ("--trust",)):  # to trust the configuration is not to trust a pickle
        code, errors = apply(folder, *flags)
        assert code == 2 and "could run code" in errors and not marker.exists()


def test_weights_outside_the_bundle(bundle, apply, tmp_path, weights):
    torch.save(weights, tmp_path / "other.pt")

    def change(config):
        config["checkpointloader"]["load_path"] = "$@bundle_root + '/../other.pt'"

    code, errors = apply(bundle(change))
    assert code == 2 and "outside its folder" in errors


# --- trust -------------------------------------------------------------------------------------------------


def with_scripts(folder: Path, marker: Path) -> Path:
    """Give a bundle its own code, which builds its network and records that it was run."""
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "scripts" / "net.py").write_text(
        f"from pathlib import Path\nfrom monai.networks.nets import UNet\n\n\ndef make(**arguments):\n"
        f"    Path({str(marker)!r}).touch()\n    return UNet(**arguments)\n",
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def bundle_with_scripts(bundle, tmp_path):
    def change(config):
        config["network_def"]["_target_"] = "scripts.net.make"

    yield with_scripts(bundle(change), tmp_path / "executed")
    sys.path[:] = [path for path in sys.path if not path.startswith(str(tmp_path))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "scripts"]:
        del sys.modules[name]


def test_code_of_its_own_runs_only_when_trusted(bundle_with_scripts, apply, tmp_path):
    code, errors = apply(bundle_with_scripts)
    assert code == 2 and not (tmp_path / "executed").exists()
    assert "scripts.net.make" in errors and "--trust" in errors and "read, change and send away" in errors
    assert apply(bundle_with_scripts, "--trust") == (0, "")
    assert (tmp_path / "executed").exists() and (tmp_path / "out.seg.nrrd").exists()
    assert apply(bundle_with_scripts) == (0, ""), "trust lasts"
    assert not list(bundle_with_scripts.rglob("__pycache__")), "the bundle is as it was"


def test_two_trusted_bundles_keep_their_code_apart(bundle_with_scripts, apply, tmp_path):
    """Both call it ``scripts``, and one process may apply both."""
    other = shutil.copytree(bundle_with_scripts, tmp_path / "other")
    file = other / "scripts" / "net.py"
    file.write_text(file.read_text(encoding="utf-8").replace("executed", "executed_too"), encoding="utf-8")
    assert apply(bundle_with_scripts, "--trust") == (0, "") and not (tmp_path / "executed_too").exists()
    assert apply(other, "--trust") == (0, "") and (tmp_path / "executed_too").exists()
    (tmp_path / "executed").unlink()
    assert apply(bundle_with_scripts) == (0, "") and (tmp_path / "executed").exists()


def test_trust_ends_with_the_first_change(bundle_with_scripts, apply):
    assert apply(bundle_with_scripts, "--trust") == (0, "")
    file = bundle_with_scripts / "scripts" / "net.py"
    states = file.stat()
    file.write_text(file.read_text(encoding="utf-8").replace("UNet(", "unet("), encoding="utf-8")
    os.utime(file, ns=(states.st_atime_ns, states.st_mtime_ns))
    assert file.stat().st_size == states.st_size
    assert apply(bundle_with_scripts)[0] == 2, "same name, size and time, other content"


def test_trust_in_an_archive(bundle_with_scripts, apply, tmp_path):
    """An archive is unpacked elsewhere each time; its content is what counts."""
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as content:
        for file in bundle_with_scripts.rglob("*"):
            content.write(file, file.relative_to(tmp_path))
    assert apply(path)[0] == 2
    assert apply(path, "--trust") == (0, "")
    sys.path[:] = [entry for entry in sys.path if "meddeep-" not in entry]
    for name in [name for name in sys.modules if name.partition(".")[0] == "scripts"]:
        del sys.modules[name]
    assert apply(path) == (0, "")


def test_the_record_of_trust(bundle_with_scripts, tmp_path):
    model = open_model(bundle_with_scripts, "segment")
    question = model.untrusted()
    assert isinstance(question, NotTrusted) and "scripts.net.make" in question.question
    trust(bundle_with_scripts, "name")
    assert is_trusted(bundle_with_scripts) and seems_trusted(bundle_with_scripts) and model.untrusted() is None
    copy = shutil.copytree(bundle_with_scripts, tmp_path / "copy")
    assert is_trusted(copy)
    withdraw(copy)
    assert not is_trusted(bundle_with_scripts)
    for text in ("", "{", "[]", '{"a": 1}', "null"):
        (tmp_path / "state" / "trusted_bundles.json").write_text(text, encoding="utf-8")
        assert not is_trusted(bundle_with_scripts)


def test_an_honest_bundle_needs_no_trust(bundle, apply, tmp_path):
    folder = bundle()
    assert open_model(folder, "segment").untrusted() is None
    assert apply(folder) == (0, "")
    assert not (tmp_path / "state" / "trusted_bundles.json").exists()
