"""Bundles in the style of MONAI's zoo with trained networks, made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zoo_bundles


@pytest.fixture(scope="session")
def spleen_bundle(tmp_path_factory) -> Path:
    """One structure; nobody may change it."""
    config = zoo_bundles.spleen_config()
    weights = zoo_bundles.train_network(config, "one")
    return zoo_bundles.write_bundle(
        tmp_path_factory.mktemp("spleen") / "spleen", config, zoo_bundles.SPLEEN_METADATA, weights
    )


@pytest.fixture(scope="session")
def organs_bundle(tmp_path_factory) -> Path:
    """Three structures that exclude each other."""
    config = zoo_bundles.organs_config()
    weights = zoo_bundles.train_network(config, "all")
    return zoo_bundles.write_bundle(
        tmp_path_factory.mktemp("organs") / "organs", config, zoo_bundles.ORGANS_METADATA, weights
    )


@pytest.fixture(scope="session")
def brats_bundle(tmp_path_factory) -> Path:
    """Four inputs, three structures that overlap; its list of cases names those of :func:`zoo_cases`."""
    config = zoo_bundles.brats_config()
    weights = zoo_bundles.train_network(config, "overlapping")
    folder = zoo_bundles.write_bundle(
        tmp_path_factory.mktemp("brats") / "brats", config, zoo_bundles.BRATS_METADATA, weights
    )
    cases = [{"image": [f"{name}_{n}.nii.gz" for n in range(4)]} for name in zoo_bundles.GRIDS]
    (folder / "configs" / "datalist.json").write_text(json.dumps({"testing": cases}), encoding="utf-8")
    return folder
