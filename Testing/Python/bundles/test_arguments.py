"""Without trust, arguments that lead to a file or the network are refused, on reading a bundle and on building it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from MedDeepLib.bundles.foreign.components import Attributes
from MedDeepLib.bundles.foreign.inspection import Bundle, read_bundle
from MedDeepLib.bundles.foreign.parser import NeedsTrust, SafeParser
from MedDeepLib.bundles.foreign.trust import trust
from MedDeepLib.bundles.foreign.trust_question import NotTrusted
from MedDeepLib.bundles.foreign.workflow import Workflow
from MedDeepLib.bundles.model import open_model
from MedDeepLib.data.sources.image import Image
from monai.networks.nets import UNet
from zoo_bundles import SPLEEN_METADATA, balls, oblique_affine, spleen_config, write_bundle

CPU = torch.device("cpu")
NETWORK = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "num_res_units": 1}
SIZES = {"channels": [8, 16], "strides": [2], "norm": "batch"}
URL = "file:///etc/hostname"
HOVERNET = {"_target_": "HoVerNet", "mode": "fast"}
NETS = "$monai.networks.nets"
HOOK = "torch.nn.modules.module.register_module_forward_hook"


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDEEP_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def fetched(monkeypatch) -> list:
    """The requested downloads; nothing is sent."""
    asked = []

    def fetch(address, *_, **__):
        asked.append(address)
        raise AssertionError("it goes to the network")

    monkeypatch.setattr("monai.networks.nets.hovernet.download_url", fetch)
    monkeypatch.setattr("monai.networks.nets.densenet.load_state_dict_from_url", fetch)
    return asked


@pytest.fixture
def bundle(tmp_path):
    def write(**entries) -> Path:
        torch.manual_seed(0)
        weights = UNet(3, 1, 2, channels=(8, 16), strides=(2,), num_res_units=1, norm="batch").state_dict()
        return write_bundle(tmp_path / "bundle", spleen_config(**entries), SPLEEN_METADATA, weights)

    return write


def made(bundle: Bundle, name: str):
    """Builds an entry without inspecting the bundle first."""
    attributes = Attributes(bundle.folder, CPU)
    parser = SafeParser(dict(bundle.config) | {"device": CPU}, attributes, bundle.imports())
    return parser.get_parsed_content(name)


# A fault of the network's entry, and a part of the sentence that the user reads.
REFUSED = {
    "a call for later": ({"network_def": NETWORK | SIZES | {"_mode_": "callable"}}, "to be called later"),
    "a call for later without arguments": (
        {"network_def": "$@make(3, 1, 2)", "make": {"_target_": "UNet", "_mode_": "callable"}},
        "to be called later",
    ),
    "a partial that is called with an address": (
        {"network_def": f"$@make(pretrained_url='{URL}')", "make": HOVERNET | {"_mode_": "callable"}},
        "to be called later",
    ),
    "a partial that is called on the image": (
        {"network_def": {"_target_": "Lambdad", "keys": "image", "func": "@make"}}
        | {"make": HOVERNET | {"_mode_": "callable"}},
        "to be called later",
    ),
    "a mode of another name": ({"network_def": NETWORK | SIZES | {"_mode_": "partial"}}, "to be called later"),
    "a mode by expression": ({"network_def": NETWORK | SIZES | {"_mode_": "$'call' + 'able'"}}, "to be called later"),
    "a mode by reference": ({"network_def": NETWORK | {"_mode_": "@m"}, "m": "callable"}, "to be called later"),
    "a mode on the loader": (
        {"network_def": {"_target_": "LoadImaged", "keys": "image", "_mode_": "callable"}},
        "to be called later",
    ),
    "a debugger": ({"network_def": NETWORK | SIZES | {"_mode_": "debug"}}, "debugger"),
    "a debugger by flag": ({"network_def": NETWORK | SIZES | {"_debug_": True}}, "debugger"),
    "an address by name": ({"network_def": HOVERNET | {"pretrained_url": URL}}, "'pretrained_url' names a file"),
    "an address under any name": ({"network_def": NETWORK | SIZES | {"act": "https://a.b/c"}}, "address"),
    "a share under any name": ({"network_def": NETWORK | SIZES | {"act": "\\\\host\\share"}}, "address"),
    "an address by position": (
        {"network_def": f"{NETS}.HoVerNet(1, 3, 0, 1, 1, 1, 0.0, '{URL}')"},
        "may be text and has no name",
    ),
    "an address by reference": (
        {"network_def": f"{NETS}.HoVerNet(1, 3, 0, 1, 1, 1, 0.0, @url)", "url": URL},
        "may be text and has no name",
    ),
    "an address by reference to an expression": (
        {"network_def": f"{NETS}.HoVerNet(1, 3, 0, 1, 1, 1, 0.0, @url)", "url": "$'file:' + @rest", "rest": "///x"},
        "may be text and has no name",
    ),
    "an address among many": (
        {"network_def": f"{NETS}.HoVerNet(*@all)", "all": [1, 3, 0, 1, 1, 1, 0.0, URL]},
        "may be text and has no name",
    ),
    "an address by keyword": ({"network_def": f"{NETS}.HoVerNet(pretrained_url='{URL}')"}, "names a file"),
    "an address in keywords": ({"network_def": f"{NETS}.HoVerNet(**{{'pretrained_url': '{URL}'}})"}, "names a file"),
    "an address in keywords by reference": (
        {"network_def": f"{NETS}.HoVerNet(**@named)", "named": {"pretrained_url": URL}},
        "names a file",
    ),
    "an address in keywords that are made": (
        {"network_def": f"{NETS}.HoVerNet(**{{'pretrained' + '_url': '{URL}'}})"},
        "whose names cannot be told",
    ),
    "an address in a lambda": (
        {"network_def": f"$(lambda url: monai.networks.nets.HoVerNet(1, 3, 0, 1, 1, 1, 0.0, url))('{URL}')"},
        "may be text and has no name",
    ),
    "a network that is handed on": (
        {"network_def": f"$(lambda make: make(pretrained_url='{URL}'))(monai.networks.nets.HoVerNet)"},
        "passes 'monai.networks.nets.HoVerNet' on",
    ),
    "a network that is handed on by MONAI": (
        {"network_def": {"_target_": "Lambdad", "keys": "image", "func": f"{NETS}.HoVerNet"}},
        "passes 'monai.networks.nets.HoVerNet' on",
    ),
    "an imported network that is handed on": (
        {"network_def": {"_target_": "Lambdad", "keys": "image", "func": "$[Net][0]"}}
        | {"imports": ["$from monai.networks.nets import HoVerNet as Net"]},
        "passes 'Net' on",
    ),
    "one in a list": ({"network_def": f"{NETS}.UNet(3, 1, 2, [{NETS[1:]}.HoVerNet], (2,)).to(@device)"}, "passes"),
    "a hook for all networks": ({"network_def": {"_target_": HOOK, "hook": "$lambda m, i, o: o"}}, "not on the list"),
    "a hook by expression": ({"network_def": f"${HOOK}(lambda m, i, o: o)"}, "it uses"),
    "a hook as a requirement": (
        {"network_def": NETWORK | SIZES | {"_requires_": [f"${HOOK}(lambda m, i, o: o)"]}},
        "it uses",
    ),
    "a function that calls what it is given": (
        {"network_def": {"_target_": "monai.transforms.adaptors.adaptor", "function": "$len", "outputs": "x"}},
        "not on the list",
    ),
    "our own reader": (
        {"network_def": {"_target_": "MedDeepLib.bundles.exported.ReadImaged", "keys": "image"}},
        "not on the list",
    ),
    "our own inferer": (
        {"network_def": {"_target_": "SegmentModuleLib.exported.LabelInferer", "bundle_root": "//host/share"}},
        "not on the list",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_refused_when_it_is_read_and_when_it_is_made(bundle, fetched, name):
    entries, sentence = REFUSED[name]
    folder = bundle(**entries)
    found = read_bundle(folder)
    assert found.findings and sentence in found.findings[0].in_words(), found.findings
    assert open_model(folder, "segment").untrusted() is not None
    with pytest.raises(NotTrusted) as error:
        Workflow(found, CPU)
    assert str(error.value).endswith(".") and sentence in error.value.question
    if "loader" not in name:  # which is replaced before it would be built
        with pytest.raises(NeedsTrust):
            made(found, "network_def")
    assert not fetched and not torch.nn.modules.module._global_forward_hooks


@pytest.mark.parametrize("place", ["preprocessing", "postprocessing", "inferer", "precision"])
def test_refused_everywhere(bundle, fetched, place):
    later = HOVERNET | {"_mode_": "callable"}
    if place == "precision":
        folder = bundle(evaluator={"amp": later})
    else:
        folder = bundle(**{place: later if place == "inferer" else {"_target_": "Compose", "transforms": [later]}})
    (finding,) = read_bundle(folder).findings
    assert finding.what == "HoVerNet" and "to be called later" in finding.why and not fetched


def test_references_that_multiply_are_judged_quickly(bundle):
    entries = {f"a{n}": f"$[@a{n + 1}, @a{n + 1}, @a{n + 1}]" for n in range(18)} | {"a18": 1}
    folder = bundle(network_def=f"{NETS}.UNet(3, 1, 2, @a0, (2,))", **entries)
    assert "may be text" in read_bundle(folder).findings[0].why


HONEST = {
    "numbers by position": {"network_def": f"{NETS}.UNet(3, 1, 2, (8, 16), (2,), num_res_units=1, norm='batch')"},
    "numbers by reference": {
        "network_def": f"{NETS}.UNet(@dims, 1, 2, @sizes, @strides, num_res_units=1, norm='batch')",
        "dims": 3,
        "sizes": "$[8, 8 * @strides[0]]",
        "strides": [2],
    },
    "a network by position": {
        "network_def": "$torch.nn.Sequential(@inner)[0]",
        "inner": NETWORK | SIZES,
    },
    "an imported class": {
        "network_def": "$Net(3, 1, 2, channels=(8, 16), strides=(2,), num_res_units=1, norm='batch').to(@device)",
        "imports": ["$from monai.networks.nets import UNet as Net"],
    },
    "no address": {"network_def": NETWORK | SIZES | {"_mode_": "default", "_desc_": "see https://monai.io"}},
    "a nested remark": {
        "inferer": {"_target_": "SimpleInferer", "_desc_": "as in https://monai.io"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: torch.softmax(x, 0)", "_desc_": "a://b"},
                {"_target_": "Lambdad", "keys": "pred", "func": "$torch.abs"},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
    },
}


@pytest.mark.parametrize("name", list(HONEST))
def test_what_is_harmless_needs_no_trust(bundle, name):
    found = read_bundle(bundle(**HONEST[name]))
    assert not found.findings
    workflow = Workflow(found, CPU)
    result = workflow.predict(Image(balls(1)[0][:, :24, :24, :24], oblique_affine(), None))
    assert result.shape == (1, 24, 24, 24)


def test_a_trusted_bundle_may_do_so(bundle):
    folder = bundle(
        network_def="$@make(3, 1)",
        make={"_target_": "UNet", "_mode_": "callable", "out_channels": 2, "num_res_units": 1, **SIZES},
    )
    with pytest.raises(NotTrusted):
        Workflow(read_bundle(folder), CPU)
    trust(folder, "name")
    assert isinstance(Workflow(read_bundle(folder), CPU).network, UNet)


def test_fixed_weights_are_not_fetched_either(bundle, fetched):
    """A positional argument cannot be left out; a named one is."""
    network = f"{NETS}.DenseNet121(2, 3, 2, 64, 32, (6, 12, 24, 16), True)"
    with pytest.raises(NeedsTrust, match="pretrained"):
        made(read_bundle(bundle(network_def=network)), "network_def")
    assert not fetched
