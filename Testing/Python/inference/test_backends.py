"""Networks computed by OpenVINO: the same results as torch's, or torch with the reason; what is kept, and where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from MedDeepLib.bundles.archive import files_below
from MedDeepLib.bundles.layout import CONVERTED
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.inference.backends import backend as backends
from MedDeepLib.inference.backends import openvino_runtime as runtime
from MedDeepLib.inference.backends.backend import Backend, difference
from MedDeepLib.inference.backends.converted import Converted
from MedDeepLib.inference.ladder import apply_within_memory
from MedDeepLib.inference.sinks import Labels
from MedDeepLib.inference.sliding import TilingOptions, apply_network

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(not runtime.installed_version(), reason="openvino is not installed")


class Context:
    """Of one job: what was reported."""

    def __init__(self):
        self.said = []

    def report(self, event, message):
        self.said.append((event, message))


class Tiny(torch.nn.Module):
    """Halves the resolution and comes back, with a norm; counts its forward passes."""

    def __init__(self, dimensions=3, several=False, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        convolution = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dimensions]
        norm = {2: torch.nn.InstanceNorm2d, 3: torch.nn.InstanceNorm3d}[dimensions]
        self.down = torch.nn.Sequential(convolution(1, 6, 3, 2, 1), norm(6, affine=True), torch.nn.LeakyReLU(0.1))
        self.scores = convolution(7, 3, 3, 1, 1)
        self.several, self.calls = several, 0

    def forward(self, x):
        self.calls += 1
        coarse = torch.nn.functional.interpolate(self.down(x), x.shape[2:], mode="nearest")
        scores = self.scores(torch.cat([x, coarse], 1))
        return [scores, coarse] if self.several else scores


class Strange(Tiny):
    """Computes something that no converter knows."""

    def forward(self, x):
        return super().forward(x + torch.special.bessel_j0(x))


class Hidden(Tiny):
    """Computes something that tracing does not see: a constant takes its place."""

    def forward(self, x):
        return super().forward(torch.from_numpy(np.sin(x.numpy())))


class Dicing(Tiny):
    """Gives another result each time."""

    def forward(self, x):
        return super().forward(x + torch.rand_like(x))


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    monkeypatch.setenv("MEDDEEP_STATE", str(folder))
    return folder


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


def computed(network, image, asked="auto", folder=None, device=CPU):
    context = Context()
    backend = Backend(network.eval(), asked, device, Converted(folder))
    with torch.inference_mode():
        result = backend(image)
    backend.finish(context)
    return result, backend, context.said


def image(*shape, seed=1):
    return torch.randn(shape or (1, 1, 12, 8, 8), generator=torch.Generator().manual_seed(seed))


def assert_close(found, expected):
    assert (found - expected).abs().max() <= 1e-4 * (expected.max() - expected.min())


@needs_openvino
@pytest.mark.parametrize("shape", [(1, 1, 12, 8, 8), (3, 1, 8, 8, 4)])
def test_results_are_torchs(shape):
    network = Tiny()
    found, backend, said = computed(network, image(*shape))
    assert_close(found, network(image(*shape)))
    assert backend.in_words() == f"OpenVINO {runtime.installed_version()}" and said == []


@needs_openvino
def test_slices_and_several_outputs():
    network = Tiny(2, several=True)
    found, backend, said = computed(network, image(2, 1, 16, 12))
    assert isinstance(found, list) and said == []
    for one, other in zip(found, network(image(2, 1, 16, 12)), strict=True):
        assert_close(one, other)


@needs_openvino
def test_labels_of_a_whole_image_are_torchs():
    network, options = Tiny().eval(), TilingOptions((12, 12, 12), flip_axes=(0,))
    case = Prepared(image(1, 30, 25, 20), np.eye(4), (0, 1, 2), (False,) * 3, (30, 25, 20), np.ones(3), np.zeros(3))
    backend = Backend(network, "openvino", CPU)
    found = apply_network(backend, case, options, CPU, Labels())
    expected = apply_network(network, case, options, CPU, Labels())
    assert np.mean(found == expected) > 0.999 and backend.in_words().startswith("OpenVINO")


class Sized(Tiny):
    """Knows the size that it was made for."""

    def forward(self, x):
        return super().forward(x + torch.linspace(0, 1, x.shape[-1]).repeat(x.shape[-2], 1))


class Particular(Tiny):
    """Takes no other size than one."""

    def forward(self, x):
        if x.shape[-1] != 64:
            raise ValueError("64 pixels")
        return super().forward(x)


@needs_openvino
@pytest.mark.parametrize("kind", [Tiny, Sized, Particular])
def test_a_large_tile_is_converted_from_a_smaller_one_where_that_does(kind):
    network = kind(2)
    found, backend, said = computed(network, image(1, 1, 64, 64))
    assert_close(found, network(image(1, 1, 64, 64)))
    assert backend.in_words().startswith("OpenVINO") and said == []


@needs_openvino
def test_images_of_monai_keep_their_affine():
    from monai.data import MetaTensor

    network, affine = Tiny(), torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    given = MetaTensor(image(), affine=affine, meta={"name": "a"})
    found, backend, _ = computed(network, given)
    assert backend.in_words().startswith("OpenVINO")
    assert isinstance(found, MetaTensor) and torch.equal(found.affine, affine) and found.meta["name"] == "a"
    assert_close(found.as_tensor(), network(image()))


def test_without_the_package_torch_computes(monkeypatch):
    monkeypatch.setattr(runtime, "installed_version", lambda: "")
    network = Tiny()
    found, backend, said = computed(network, image())
    assert torch.equal(found, network(image())) and said == []
    assert backend.in_words() == f"torch {torch.__version__}"
    found, _, said = computed(network, image(), "openvino")
    assert torch.equal(found, network(image()))
    assert said == [("warning", said[0][1])] and "the package openvino is not installed" in said[0][1]


def test_on_a_gpu_torch_computes(monkeypatch):
    monkeypatch.setattr(runtime, "installed_version", lambda: "2026.2.0")
    found, backend, said = computed(Tiny(), image(), "auto", device=torch.device("cuda"))
    assert backend.in_words().startswith("torch") and said == []
    _, _, said = computed(Tiny(), image(), "openvino", device=torch.device("cuda"))
    assert "on the CPU only" in said[0][1]


@needs_openvino
@pytest.mark.parametrize("asked, event", [("auto", "message"), ("openvino", "warning")])
@pytest.mark.parametrize("kind, reason", [(Strange, "be converted"), (Hidden, "differ"), (Dicing, "differ from torch")])
def test_a_network_is_refused_with_the_reason_once_in_a_job(kind, reason, asked, event, model):
    network = kind()
    _, backend, said = computed(network, image(), asked, model)
    assert backend.in_words().startswith("torch")
    assert [one for one, _ in said] == [event] and reason in said[0][1]
    first = Context()
    for context, count in ((first, 1), (first, 1), (Context(), 1)):
        backend(image())
        backend.finish(context)
        assert len(context.said) == count
    # The refusal is kept: the network is not converted again.
    calls = network.calls
    _, _, said_again = computed(network, image(), asked, model)
    assert said_again == said and network.calls == calls + 1


@needs_openvino
def test_a_damaged_package_costs_time_only(monkeypatch):
    def broken():
        raise ImportError("libopenvino.so is missing")

    monkeypatch.setattr(runtime, "_core", broken)
    network = Tiny()
    found, _, said = computed(network, image())
    assert torch.equal(found, network(image())) and "cannot be loaded" in said[0][1]


@needs_openvino
def test_a_converted_network_is_used_again(model, monkeypatch):
    network = Tiny()
    first, _, _ = computed(network, image(), folder=model)
    assert len(list((model / CONVERTED).iterdir())) == 1
    monkeypatch.setattr(runtime, "converted", None)
    calls = network.calls
    again, backend, said = computed(network, image(), folder=model)
    assert torch.equal(first, again) and network.calls == calls and said == []
    assert backend.in_words().startswith("OpenVINO")
    assert not list(files_below(model)), "converted networks belong to this computer, not to the model"


@needs_openvino
def test_other_weights_another_structure_and_another_shape_are_converted_anew(model):
    for network, shape in ((Tiny(), (8, 8, 8)), (Tiny(seed=1), (8, 8, 8)), (Tiny(), (8, 8, 12))):
        found, _, _ = computed(network, image(1, 1, *shape), folder=model)
        assert_close(found, network(image(1, 1, *shape)))
    steeper = Tiny()
    steeper.down[2].negative_slope = 0.3
    found, _, _ = computed(steeper, image(1, 1, 8, 8, 8), folder=model)
    assert_close(found, steeper(image(1, 1, 8, 8, 8)))
    assert len(list((model / CONVERTED).iterdir())) == 4


@needs_openvino
@pytest.mark.parametrize("name", ["network.bin", "network.xml", "entry.json"])
def test_a_damaged_entry_is_made_again(name, model):
    network = Tiny()
    computed(network, image(), folder=model)
    (entry,) = (model / CONVERTED).iterdir()
    content = (entry / name).read_bytes()
    (entry / name).write_bytes(content[: len(content) // 2])
    found, _, said = computed(network, image(), folder=model)
    assert_close(found, network(image()))
    assert said == [] and (entry / name).stat().st_size == len(content)


@needs_openvino
def test_an_entry_cannot_name_other_files(model, tmp_path):
    network = Tiny()
    computed(network, image(), folder=model)
    (entry,) = (model / CONVERTED).iterdir()
    content = json.loads((entry / "entry.json").read_text())
    content["files"] = {"../../other": "0"}
    (entry / "entry.json").write_text(json.dumps(content))
    found, _, _ = computed(network, image(), folder=model)
    assert_close(found, network(image()))


@needs_openvino
def test_a_folder_that_cannot_be_written_to_costs_time_only(model, state):
    network = Tiny()
    (model / CONVERTED).write_text("in the way")  # as root, who runs some tests, may write everywhere
    computed(network, image(), folder=model)
    (entry,) = (state / "openvino").iterdir()
    found, backend, said = computed(network, image(), folder=model)
    assert_close(found, network(image()))
    (entry / "entry.json").unlink()
    for file in entry.iterdir():
        file.unlink()
    entry.rmdir()
    entry.parent.rmdir()
    (state / "openvino").write_text("in the way")
    found, backend, said = computed(network, image(), folder=model)
    assert_close(found, network(image()))
    assert said == [] and backend.in_words().startswith("OpenVINO")


@needs_openvino
def test_entries_do_not_pile_up(model):
    network = Tiny()
    for length in range(6, 26, 2):
        computed(network, image(1, 1, length, 6, 6), folder=model)
    assert len(list((model / CONVERTED).iterdir())) == 8


@needs_openvino
def test_few_shapes_stay_compiled():
    backend = Backend(Tiny().eval(), "auto", CPU)
    with torch.inference_mode():
        for length in (6, 8, 10):
            backend(image(1, 1, length, 6, 6))
    assert len([ready for ready in backend._ready.values() if ready is not None]) == 2


@needs_openvino
def test_gradients_and_other_dtypes_are_left_to_torch():
    backend = Backend(Tiny().eval().double(), "auto", CPU)
    with torch.no_grad():
        assert backend(image().double()).dtype == torch.float64
    backend = Backend(Tiny().eval(), "auto", CPU)
    assert backend(image()).requires_grad
    assert backend.in_words().startswith("torch") and not backend._ready


@needs_openvino
def test_within_autocast_it_computes_in_float32():
    network = Tiny().eval()
    backend = Backend(network, "auto", CPU)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = backend(image())
    assert found.dtype == torch.float32 and backend.in_words().startswith("OpenVINO")
    assert_close(found, network(image()))


@needs_openvino
def test_out_of_memory_leads_to_smaller_tiles(monkeypatch):
    compute = runtime.Compiled.__call__

    def limited(self, tile):
        if tile.numel() > 512:
            raise runtime.out_of_memory(RuntimeError("std::bad_alloc"))
        return compute(self, tile)

    monkeypatch.setattr(backends, "difference", lambda expected, found: "")
    shape, said = (16, 16, 16), []
    case = Prepared(image(1, *shape), np.eye(4), (0, 1, 2), (False,) * 3, shape, np.ones(3), np.zeros(3))
    backend = Backend(Tiny().eval(), "auto", CPU)
    with torch.inference_mode():
        backend(image(1, 1, *shape))  # while there is memory
    monkeypatch.setattr(runtime.Compiled, "__call__", limited)
    labels = apply_within_memory(backend, case, TilingOptions(shape), CPU, Labels(), (4, 4, 4), said.append)
    assert labels.shape == shape and "one tile of 8 x 8 x 8" in said[-1]
    assert backend.in_words().startswith("OpenVINO")


@needs_openvino
def test_too_little_memory_to_convert_leaves_it_to_torch(monkeypatch):
    def large(*arguments):
        raise RuntimeError("failed to allocate 1 GB")

    monkeypatch.setattr(runtime, "converted", large)
    network = Tiny()
    found, _, said = computed(network, image())
    assert torch.equal(found, network(image())) and "not enough memory to convert" in said[0][1]


def test_how_results_are_compared():
    scores = torch.randn(1, 3, 10, 10, 10, generator=torch.Generator().manual_seed(0))
    assert difference([scores], [scores + 1e-5]) == ""
    assert "differ" in difference([scores], [scores + 0.1])
    assert "shape" in difference([scores], [scores[:, :2]])
    assert "finite" in difference([scores * float("nan")], [scores])
    # A tie between two channels everywhere: each small difference makes another label.
    tied = torch.cat([torch.ones(1, 2, 10, 10, 10), torch.full((1, 1, 10, 10, 10), -1.0)], 1)
    other = tied.clone()
    other[:, 1] += 1e-4
    assert "labels" in difference([tied], [other])


_AUDITED = """
import os, pathlib, sys
allowed, tried = [os.path.realpath(path) for path in sys.argv[1:3]], []

def audit(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "urllib.", "http.client", "subprocess.", "os.fork")):
        tried.append((event, str(arguments)))
    if event == "open":
        path, mode, flags = arguments
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
        inside = not isinstance(path, (str, bytes)) or any(
            os.path.realpath(os.fsdecode(path)).startswith(folder + os.sep) for folder in [*allowed, "/dev"]
        )
        if writes and not inside:
            tried.append((event, str(arguments)))
    if event in ("os.mkdir", "os.rename") and not any(
        os.path.realpath(os.fsdecode(arguments[0])).startswith(folder) for folder in allowed
    ):
        tried.append((event, str(arguments)))

import torch
sys.addaudithook(audit)
from MedDeepLib.inference.backends.backend import Backend
from MedDeepLib.inference.backends.converted import Converted

network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(4, 2, 1)).eval()
for turn in range(2):
    backend = Backend(network, "openvino", torch.device("cpu"), Converted(pathlib.Path(sys.argv[1])))
    with torch.inference_mode():
        backend(torch.randn(1, 1, 8, 8, 8))
    assert backend.in_words().startswith("OpenVINO"), backend.in_words()
loaded = [name for name, module in sys.modules.items() if module and ("telemetry" in name or "openvino.tools" in name)]
assert not loaded, loaded
assert not tried, tried
"""


@needs_openvino
def test_nothing_phones_home_and_nothing_is_written_elsewhere(model, tmp_path):
    """Merely importing OpenVINO's tools would report to its maker, where its telemetry package is installed."""
    home, temporary, job = (tmp_path / name for name in ("home", "temporary", "job"))
    for folder in (home, temporary, job):
        folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "LOCALAPPDATA": str(home)}
    environment.pop("MEDDEEP_STATE", None)
    command = [sys.executable, "-c", _AUDITED, str(model), str(job)]
    done = subprocess.run(command, env=environment, cwd=job, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not [path for path in home.rglob("*") if path.is_file()], "a file was left in the home folder"
    assert not list(temporary.iterdir()) and not list(job.iterdir())
    assert list((model / CONVERTED).iterdir())
