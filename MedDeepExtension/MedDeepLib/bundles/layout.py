"""The file layout of a model: that of MONAI bundles."""

from __future__ import annotations

from pathlib import Path

METADATA = Path("configs/metadata.json")
INFERENCE = Path("configs/inference.json")
CONFIGS = (INFERENCE, Path("configs/inference.yaml"), Path("configs/inference.yml"))
WEIGHTS = Path("models/model.pt")
SCRIPT = Path("models/model.ts")
CARD = Path("docs/README.md")
CONVERTED = ".openvino"
"""Networks that this computer has converted for OpenVINO: not part of the model, and made again where it is missing."""
