"""Inspects a bundle from elsewhere without running it: its task, its inputs, and the code it would run.

Neither torch nor MONAI is loaded, so that a panel can do it.
"""

from __future__ import annotations

import builtins
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedDeepLib.bundles import metadata
from MedDeepLib.bundles.foreign import allowlist, arguments
from MedDeepLib.bundles.foreign.config_file import entry, items, read_config, resolve_macros
from MedDeepLib.bundles.foreign.expressions import REFERENCES, all_names, parse_import, problem
from MedDeepLib.bundles.layout import CONFIGS, METADATA, SCRIPT, WEIGHTS
from MedDeepLib.errors import UserError

# The entries of a configuration that are used here, together with those they refer to.
ROOTS = ("network_def", "network", "preprocessing", "inferer", "postprocessing")
LOADERS = tuple(f"LoadImage{ending}" for ending in ("d", "D", "Dict"))
WRITERS = tuple(f"SaveImage{ending}" for ending in ("d", "D", "Dict"))
_PRECISION = "evaluator::amp"  # is used here as well
_NO_ARGUMENTS = ("_target_", "_disabled_", "_requires_", "_desc_", "_mode_")  # as in MONAI's ConfigComponent
_REFERENCE = re.compile(r"@(\w*(?:::\w*)*)")
_RELATIVE = re.compile(r"@(?:::)+")
_HOSTILE_MODULES = frozenset(
    """
    builtins code ctypes ftplib http importlib io multiprocessing nt os pathlib pickle posix pty requests runpy
    shutil socket subprocess sys tempfile urllib webbrowser
    """.split()  # noqa: SIM905
)
_CLASSIFIERS = ("DenseNet", "EfficientNet", "ResNet", "SENet", "SEResN", "TorchVisionFC", "resnet", "MILModel")
_REGISTERS = ("GlobalNet", "LocalNet", "VoxelMorph")


@dataclass(frozen=True)
class Finding:
    """Something that needs the user's trust: its entry, what it is, and why it needs trust."""

    where: str
    what: str
    why: str

    def in_words(self) -> str:
        return f"'{self.where}' asks for {self.what} ({self.why})"


@dataclass(frozen=True)
class Bundle:
    """A bundle that can be read.

    Attributes:
        metadata: as in its file.
        config: its inference configuration, with files and entries that it includes.
        task: segment, classify, detect or register.
        channels: the names of its input images.
        outputs: the names of its output channels.
        checkpoint: the entry with the checkpoint loader, empty when it has none.
        script: whether its network is a TorchScript program instead of weights.
        findings: what needs the user's trust.
    """

    folder: Path
    metadata: dict[str, Any]
    config: dict[str, Any]
    task: str
    channels: tuple[str, ...]
    outputs: tuple[str, ...]
    checkpoint: str
    script: bool
    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        return str(self.metadata.get("name") or self.folder.name)

    @property
    def overlapping(self) -> bool:
        """Whether its outputs are separate structures that may overlap: none of them is the background."""
        return len(self.outputs) > 1 and not metadata.has_background(list(self.outputs))

    def imports(self) -> dict[str, str]:
        """The names that its import statements define, with what they stand for."""
        return _imports(self.config)

    def facts(self) -> list[str]:
        """Facts on how its configuration treats positions and voxels, in sentences."""
        return _facts(self.config)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle; raises UserError with one sentence when it is incomplete, damaged, or unusable here."""
    content = read_config(folder / METADATA)
    if not isinstance(content.get("network_data_format"), dict):
        raise UserError(
            f"The bundle {folder} is damaged: its {METADATA} lacks 'network_data_format', which describes its inputs "
            "and outputs."
        )
    file = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    if file is None:
        raise UserError(f"The bundle {folder} has no inference configuration: its {CONFIGS[0]} is missing.")
    config = resolve_macros(read_config(file), folder)
    if not any(root in config for root in ("network_def", "network")) and not (folder / SCRIPT).is_file():
        raise UserError(f"The bundle {folder} defines no network: its {file.name} lacks 'network_def'.")
    checkpoint = _checkpoint(config)
    task = _task(content, config)
    if task is None:
        kind = metadata.tensor_format(content, "outputs", "pred")
        raise UserError(
            f"The bundle {folder} has an output of the kind '{kind.get('type', '?')}, {kind.get('format', '?')}', "
            "which no module of this extension supports."
        )
    channels, outputs = _channels(folder, content, config), _outputs(folder, content, config, task)
    findings = _findings(config, checkpoint)
    script = not (folder / WEIGHTS).exists() and (folder / SCRIPT).is_file()
    if script:
        findings.append(Finding(SCRIPT.as_posix(), "a TorchScript program", "it is code, not only weights"))
    return Bundle(folder, content, config, task, channels, outputs, checkpoint, script, tuple(findings))


def findings_in(folder: Path) -> tuple[Finding, ...]:
    """The findings in the inference configuration of one of our own models.

    Raises UserError when it cannot be read.
    """
    file = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    if file is None:
        return ()
    config = resolve_macros(read_config(file), folder)
    return tuple(_findings(config, _checkpoint(config), own=True))


def is_target(value: Any, names: tuple[str, ...]) -> bool:
    """Whether a configuration's entry creates one of these classes, under any import path."""
    target = value.get("_target_") if isinstance(value, dict) else None
    return isinstance(target, str) and target.rpartition(".")[2] in names


def _checkpoint(config: dict[str, Any]) -> str:
    return next((place for place, value in items(config) if is_target(value, ("CheckpointLoader",))), "")


def _channels(folder: Path, content: dict[str, Any], config: dict[str, Any]) -> tuple[str, ...]:
    tensor = metadata.tensor_format(content, "inputs", "image")
    try:
        names = metadata.channel_names(tensor)
    except ValueError as error:
        raise UserError(f"The input of the bundle {folder} is not clear: {error}; correct its {METADATA}.") from None
    network = config.get("network_def")
    count = network.get("in_channels") if isinstance(network, dict) else None
    if isinstance(count, int) and names and count != len(names):
        raise UserError(
            f"The bundle {folder} names {len(names)} input image{'s' if len(names) > 1 else ''}, but its network takes "
            f"{count} input{'s' if count != 1 else ''}; correct its {METADATA}."
        )
    modality = tensor.get("modality")
    if len(names) == 1 and names[0].casefold() in ("image", "channel 1", "") and isinstance(modality, str):
        names = [modality if modality.casefold() not in ("", "n/a", "none") else "image"]
    if not names:
        raise UserError(f"The bundle {folder} does not say how many images it needs; correct its {METADATA}.")
    return tuple(names)


def _outputs(folder: Path, content: dict[str, Any], config: dict[str, Any], task: str) -> tuple[str, ...]:
    tensor = metadata.tensor_format(content, "outputs", "pred")
    try:
        names = metadata.channel_names(tensor)
        if task == "segment" and not tensor.get("channel_def"):
            raise ValueError("it gives no names to its labels")
        network = config.get("network_def")
        count = network.get("out_channels") if isinstance(network, dict) else None
        if task == "segment" and isinstance(count, int) and count != len(names):
            raise ValueError(f"it names {len(names)} labels, but its network gives {count}")
    except ValueError as error:
        raise UserError(f"The output of the bundle {folder} is not clear: {error}; correct its {METADATA}.") from None
    return tuple(names)


def _task(content: dict[str, Any], config: dict[str, Any]) -> str | None:
    output = metadata.tensor_format(content, "outputs", "pred")
    kind, form = str(output.get("type", "")).casefold(), str(output.get("format", "")).casefold()
    targets = [str(value["_target_"]).rpartition(".")[2] for _, value in items(config) if _has_target(value)]
    network = config.get("network_def", config.get("network"))
    name = str(network.get("_target_", "")).rpartition(".")[2] if isinstance(network, dict) else str(network)
    if kind in ("object", "boxes") or form in ("dict", "boxes", "box") or any("RetinaNet" in t for t in targets):
        return "detect"
    if kind == "probabilities" or "ClassificationSaver" in targets or name.startswith(_CLASSIFIERS):
        return "classify"
    if name.startswith(_REGISTERS) or form in ("ddf", "deformation"):
        return "register"
    if kind in ("image", "") and form in ("segmentation", "labels", "label", "classes", "probabilities", ""):
        return "segment"
    return "segment" if any(target.startswith("AsDiscrete") for target in targets) else None


def _has_target(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("_target_"), str)


def _imports(config: dict[str, Any]) -> dict[str, str]:
    found = {}
    for _, value in items(config):
        parsed = parse_import(value[1:]) if isinstance(value, str) and value.startswith("$") else None
        if parsed:
            alias, module, name = parsed
            found[alias] = f"{module}.{name}" if name else module
    return found


def _findings(config: dict[str, Any], checkpoint: str, own: bool = False) -> list[Finding]:
    """First the used entries that are not allowed; then entries that no legitimate configuration has, even if unused.

    ``own`` configurations may also use names reserved for our own models.
    """
    used = _used(config, [*ROOTS, _PRECISION, *([f"{checkpoint}::load_path"] if checkpoint else [])])
    imports = _imports(config)

    def entries(name: str) -> Any:
        value = entry(config, name)
        reference = isinstance(value, str) and value.startswith(("$", "@"))
        return f"${_plain(_absolute(value.replace('#', '::'), name).removeprefix('$'))}" if reference else value

    def judged(place: str, value: Any) -> Finding | None:
        if own and _has_target(value) and allowlist.is_own(value["_target_"]):
            return None
        return _component_finding(place, value) or _expression_finding(place, value, imports, entries)

    found = []
    for place, value in items(config):
        inside = any(place == root or place.startswith(f"{root}::") for root in used)
        finding = judged(place, value) if inside else _hostile(place, value)
        if finding is not None and not any(earlier.what == finding.what for earlier in found):
            found.append(finding)
    return found


def _component_finding(place: str, value: Any) -> Finding | None:
    if not isinstance(value, dict) or "_target_" not in value:
        return None
    target = value["_target_"]
    if reason := arguments.mode_problem(value.get("_mode_", "default")):
        return Finding(place, f"{target}", reason)
    if is_target(value, LOADERS + WRITERS):
        return None  # reading and writing are done here
    if not isinstance(target, str) or target.startswith(("$", "@")) or not allowlist.is_component(target):
        return Finding(place, f"{target}", "code that is not on the list of what only computes")
    given = [(name, part) for name, part in value.items() if name not in _NO_ARGUMENTS]
    reasons = (arguments.named_problem(name, part) for name, part in given)
    reason = next((reason for reason in reasons if reason), "")
    return Finding(place, f"{target}", reason) if reason else None


def _expression_finding(place: str, value: Any, imports: dict[str, str], entries: arguments.Entries) -> Finding | None:
    if not isinstance(value, str) or not value.startswith("$") or parse_import(value[1:]) is not None:
        return None
    reason = problem(_plain(_absolute(value[1:].replace("#", "::"), place)), imports, entries)
    return Finding(place, f"the expression {_short(value)}", reason) if reason else None


def _hostile(place: str, value: Any) -> Finding | None:
    """Unused parts are not run, but one that only an attacker would write makes the whole bundle suspect."""
    if _has_target(value):
        target = value["_target_"]
        root = target.partition(".")[0]
        if root in _HOSTILE_MODULES or ("." not in target and hasattr(builtins, target)):
            return Finding(place, target, "it accesses the computer")
    if isinstance(value, str) and value.startswith("$"):
        parsed = parse_import(value[1:])
        harmless = parsed is not None and parsed[1].partition(".")[0] in ("io", "os", "pathlib", "sys")
        names, attributes = (set(), set()) if harmless else all_names(_plain(value[1:]))
        if name := allowlist.hostile_name(names, attributes):
            return Finding(place, f"the expression {_short(value)}", f"it uses '{name}'")
    return None


def _plain(text: str) -> str:
    """An expression as Python can parse it, whatever it refers to."""
    text = text.replace("#", "::")
    return _REFERENCE.sub(lambda match: f"{REFERENCES}['{match[1]}']", text)


def _used(config: dict[str, Any], roots: list[str]) -> set[str]:
    """The paths of all entries that ``roots`` refer to, directly or indirectly."""
    used: set[str] = set()
    waiting = list(roots)
    while waiting:
        root = waiting.pop()
        if root in used:
            continue
        try:
            part = entry(config, root)
        except KeyError:
            continue
        used.add(root)
        for place, value in items(part, root):
            if isinstance(value, str) and (value.startswith("$") or value.startswith("@")):
                absolute = _absolute(value.replace("#", "::"), place)
                waiting += [match.strip(":") for match in _REFERENCE.findall(absolute) if match.strip(":")]
    return used


def _absolute(value: str, place: str) -> str:
    """Makes relative references such as ``@::name``, which count levels upwards from their entry, absolute."""
    parts = place.split("::")
    for prefix in sorted(set(_RELATIVE.findall(value)), key=len, reverse=True):
        levels = prefix.count("::")
        above = "::".join(parts[:-levels])
        value = value.replace(prefix, f"@{above}::" if above else "@")
    return value


def _facts(config: dict[str, Any]) -> list[str]:
    steps = [value for _, value in items(config.get("preprocessing")) if _has_target(value)]
    steps += [v for _, v in items({k: v for k, v in config.items() if k not in ROOTS}) if _has_target(v)]
    network, inferer = _made(config.get("network_def")), _made(config.get("inferer"))
    facts = [f"A process on this computer runs its {network} with its {inferer}; nothing leaves this computer."]
    for step in steps:
        name = step["_target_"].rpartition(".")[2].rstrip("dD")
        if name == "Orientation" and isinstance(step.get("axcodes"), str):
            facts.append(f"It turns images so that their axes run {_axes(step['axcodes'])}.")
        if name == "Spacing" and (size := _literal(step.get("pixdim"), config)):
            facts.append(f"It works at a voxel size of {_times(size)} mm.")
        if name == "Resize" and (size := _literal(step.get("spatial_size"), config)):
            facts.append(f"It works on {_times(size)} voxels, whatever the image's size.")
        if is_target(step, LOADERS) and step.get("affine_lps_to_ras") is False:
            facts.append(
                "It reads positions as LPS, with left and right, front and back exchanged: this is done as in its "
                "training, and the result is still on the image's own voxels."
            )
    inverted = any(is_target(v, ("Invertd", "InvertD", "InvertDict")) for _, v in items(config.get("postprocessing")))
    facts.append(
        "Its own steps bring the result back to the image's grid."
        if inverted
        else "It leaves the result on the network's grid; it is resampled to the image's own grid here."
    )
    return list(dict.fromkeys(facts))


def _made(entry: Any) -> str:
    return entry["_target_"].rpartition(".")[2] if _has_target(entry) else "own network" if entry else "own steps"


def _literal(value: Any, config: dict[str, Any]) -> list[Any]:
    """Numbers, given directly or by reference; empty when they are calculated."""
    if isinstance(value, str) and value.startswith("@"):
        try:
            value = entry(config, value[1:])
        except KeyError:
            return []
    values = value if isinstance(value, list) else [value]
    return values if all(isinstance(part, (int, float)) for part in values) else []


def _axes(codes: str) -> str:
    words = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "head", "I": "feet"}
    return ", ".join(f"to the {words[code]}" if code in words else code for code in codes.upper())


def _times(values: list[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
