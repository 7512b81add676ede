"""The model card: what whoever gets a model must know of it."""

from __future__ import annotations

from typing import Any

from MedDeepLib.core import registry


def model_card(metadata: dict[str, Any], runs_in_monai: bool = True) -> str:
    """Markdown with the purpose, inputs, outputs, training data, figures and licence of a model made here.

    ``runs_in_monai``: whether MONAI's own command line can apply it.
    """
    own = metadata["meddeep"]
    data = own["training_data"]
    classes = "\n".join(f"- {c['value']}: {c['name']}" for c in own["classes"]) or "- none"
    heading = "Output" if registry.task(own["task"]).finds_classes else "Structures that training aligned"
    figures = "\n".join(f"- {stage}: {_in_words(figure)}" for stage, figure in own["figures"].items())
    command = f"MedDeepExtension's script {own['task']}.py: apply --model FOLDER"
    if runs_in_monai:
        command = "python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir FOLDER"
    return (
        f"# {metadata['name']}\n\n{metadata['description']}\n\n"
        f"Method: {own['method']} ({own['reference']}).\n\n"
        f"## Intended use\n**{metadata['intended_use']}** No claim of clinical accuracy is made.\n\n"
        f"## Input\n{', '.join(own['channels'])}\n\n## {heading}\n{classes}\n\n"
        f"## Training data\n{data['cases']} cases of {len(data['patients'])} patients: {data['name']}. "
        f"{data['description']}\n\n## Figures\nOn the validation cases:\n\n{figures}\n\n"
        "## Licence\nThe weights belong to whoever trained them, under the terms of the training data; before you "
        "pass them on, state these terms here and in `docs/license.txt`. The code that applies them is "
        "MedDeepExtension (Apache 2.0) and MONAI (Apache 2.0).\n\n"
        "## How to apply it\nIn 3D Slicer: import this folder in the panel of the module. From the command line, with "
        "MedDeepExtension on Python's path:\n\n"
        f"    {command}\n"
    )


def _in_words(figures: Any) -> str:
    if not isinstance(figures, dict):
        return str(figures)
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )
