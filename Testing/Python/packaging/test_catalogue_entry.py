"""MedDeepExtension.json, the entry for Slicer's extension catalogue, and what is checked together with it.

The rules are those of version 1.0.2 of the entry's schema and of the checks which the catalogue's repository
runs on every proposed entry.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
NAME = "MedDeepExtension"

# Key -> type; of the catalogue's optional keys too, so that one may be added later without a change here.
SCHEMA_TYPES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED_KEYS = {"$schema", "category", "scm_url"}
# The entries of the catalogue's fixed list that could fit this extension.
FITTING_CATEGORIES = {"Active Learning", "Analysis", "Pipelines", "Registration", "Segmentation"}
ICON_SIZE = 128
LARGEST_FILE = 5_000_000
LARGEST_REPOSITORY = 50_000_000


@pytest.fixture(scope="module")
def entry() -> dict:
    return json.loads((REPOSITORY / f"{NAME}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def extension_variables() -> dict[str, str]:
    """EXTENSION_* variables of the top CMakeLists.txt, without their prefix."""
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]*)"\)', text, flags=re.MULTILINE))


def file_of_raw_url(url: str, scm_url: str) -> Path:
    """The file in this repository which a raw-content address of it names."""
    owner_and_name = urlsplit(scm_url).path.removesuffix(".git")
    path = PurePosixPath(urlsplit(url).path)
    return REPOSITORY / path.relative_to(f"{owner_and_name}/main")


def test_keys_and_types_are_the_schemas(entry):
    assert set(entry) >= REQUIRED_KEYS
    assert set(entry) <= set(SCHEMA_TYPES)
    assert all(type(value) is SCHEMA_TYPES[key] for key, value in entry.items())
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")


def test_values_are_accepted(entry):
    assert entry["category"] in FITTING_CATEGORIES
    assert entry.get("tier", 1) in range(1, 6)
    assert all(isinstance(name, str) for name in entry["build_dependencies"])
    assert (REPOSITORY / entry["build_subdirectory"] / "CMakeLists.txt").is_file()


def test_names_follow_the_conventions(entry):
    """The extension is not called Slicer...; its repository is."""
    address = urlsplit(entry["scm_url"])
    assert address.scheme == "https"
    assert PurePosixPath(address.path).name == f"Slicer{NAME}.git"
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.search(r"^project\((\w+)", text, flags=re.MULTILINE)[1] == NAME


def test_dependencies_agree(entry, extension_variables):
    assert extension_variables["DEPENDS"].split() == entry["build_dependencies"]


def test_links_point_into_the_repository(entry, extension_variables):
    assert extension_variables["HOMEPAGE"] == entry["scm_url"].removesuffix(".git")
    images = [extension_variables["ICONURL"], *extension_variables["SCREENSHOTURLS"].split()]
    for url in images:
        path = file_of_raw_url(url, entry["scm_url"])
        assert path.is_file(), f"{url} names {path}, which does not exist"
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), f"{path} is no PNG image"


@pytest.mark.parametrize(
    "path", sorted(REPOSITORY.glob("*/Resources/Icons/*.png")), ids=lambda path: path.name
)
def test_icons_have_the_catalogues_size(path):
    header = path.read_bytes()[:24]
    width, height = int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
    assert (width, height) == (ICON_SIZE, ICON_SIZE)
    assert path.stat().st_size < 20_000


def test_every_module_has_an_icon():
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    names = re.findall(r"^add_subdirectory\((\w+)\)", text, flags=re.MULTILINE)
    assert NAME in names
    for name in names:
        assert (REPOSITORY / name / "Resources" / "Icons" / f"{name}.png").is_file()


def test_licence_is_at_the_root():
    text = (REPOSITORY / "LICENSE.txt").read_text(encoding="utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert f"{NAME} contributors" in text


def test_repository_is_small():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("this is not a git working copy")
    paths = [REPOSITORY / name for name in listing.stdout.decode("utf-8").split("\0") if name]
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    assert sizes
    assert not [str(path) for path, size in sizes.items() if size > LARGEST_FILE]
    assert sum(sizes.values()) < LARGEST_REPOSITORY
