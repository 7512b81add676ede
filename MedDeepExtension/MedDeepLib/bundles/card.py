"""The model card: the facts that every user of a model needs."""

from __future__ import annotations

from typing import Any

from MedDeepLib.core import registry


def model_card(metadata: dict[str, Any], runs_in_monai: bool = True) -> str:
    """Markdown with the purpose, inputs, outputs, training data, metrics and licence of a model made here.

    ``runs_in_monai``: whether MONAI's own command line can apply it.
    """
    own = metadata["meddeep"]
    data = own["training_data"]
    inputs = ", ".join(own["channels"]) or ", ".join(slot["name"] for slot in own["inputs"])
    classes = "\n".join(f"- {c['value']}: {c['name']}" if "value" in c else f"- {c['name']}" for c in own["classes"])
    heading = "Classes that it finds" if registry.task(own["task"]).finds_classes else "Classes of the training data"
    metrics = "\n".join(f"- {stage}: {_in_words(values)}" for stage, values in own["figures"].items())
    command = f"MedDeepExtension's script {own['task']}.py: apply --model FOLDER"
    if runs_in_monai:
        command = "python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir FOLDER"
    return (
        f"# {metadata['name']}\n\n{metadata['description']}\n\n"
        f"Method: {own['method']} ({own['reference']}).\n\n"
        f"## Intended use\n**{metadata['intended_use']}** No claim of clinical accuracy is made.\n\n"
        f"## Input\n{inputs}\n\n## {heading}\n{classes or '- none'}\n\n"
        f"## Training data\n{data['cases']} cases of {len(data['patients'])} patients: {data['name']}. "
        f"{data['description']}\n\n## Metrics\nOn the validation cases:\n\n{metrics}\n\n"
        "## Licence\nThe weights belong to their author, under the terms of the training data; before you "
        "pass them on, state these terms here and in `docs/license.txt`. The code that applies them is "
        "MedDeepExtension (Apache 2.0) and MONAI (Apache 2.0).\n\n"
        "## How to apply it\nIn 3D Slicer: import this folder in the panel of the module. From the command line, with "
        "MedDeepExtension on Python's path:\n\n"
        f"    {command}\n"
    )


def _in_words(metrics: Any) -> str:
    if not isinstance(metrics, dict):
        return str(metrics)
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items()
    )
