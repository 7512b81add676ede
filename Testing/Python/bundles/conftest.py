"""Bundles in the style of MONAI's model zoo with trained networks, made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zoo_bundles


@pytest.fixture(scope="session")
def spleen_bundle(shared) -> Path:
    """One structure; read-only."""

    def make(folder: Path) -> Path:
        config = zoo_bundles.spleen_config()
        weights = zoo_bundles.train_network(config, "one")
        return zoo_bundles.write_bundle(folder / "spleen", config, zoo_bundles.SPLEEN_METADATA, weights)

    return shared("spleen_bundle", make)


@pytest.fixture(scope="session")
def organs_bundle(shared) -> Path:
    """Three structures that exclude each other."""

    def make(folder: Path) -> Path:
        config = zoo_bundles.organs_config()
        weights = zoo_bundles.train_network(config, "all")
        return zoo_bundles.write_bundle(folder / "organs", config, zoo_bundles.ORGANS_METADATA, weights)

    return shared("organs_bundle", make)


@pytest.fixture(scope="session")
def brats_bundle(shared) -> Path:
    """Four inputs, three overlapping structures; its case list names those of :func:`zoo_cases`."""

    def make(folder: Path) -> Path:
        config = zoo_bundles.brats_config()
        weights = zoo_bundles.train_network(config, "overlapping")
        bundle = zoo_bundles.write_bundle(folder / "brats", config, zoo_bundles.BRATS_METADATA, weights)
        cases = [{"image": [f"{name}_{n}.nii.gz" for n in range(4)]} for name in zoo_bundles.GRIDS]
        (bundle / "configs" / "datalist.json").write_text(json.dumps({"testing": cases}), encoding="utf-8")
        return bundle

    return shared("brats_bundle", make)
