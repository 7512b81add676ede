"""The recipes that fetch images: checksums, partial downloads, the cache. No network: packages are made here."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path
from random import Random

import pytest
from Data import fetch as recipes
from Data import registries
from MedDeepLib.errors import EXIT_BAD_INPUT, EXIT_DONE, UserError

CONTENT = {f"inside/{name}.nii": Random(name).randbytes(1000) for name in "ab"}
REPOSITORY = Path(__file__).resolve().parents[3]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_wheel(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
    return path


def make_tar(compression: str, prefix: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as archive:
        for name, content in CONTENT.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def make_deb(path: Path) -> Path:
    package = b"!<arch>\n"
    # The odd size of control.tar makes the padding byte matter.
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": make_tar("xz", "./")}
    for name, content in members.items():
        package += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode("ascii")
        package += content + b"\n" * (len(content) % 2)
    path.write_bytes(package)
    return path


class Registry:
    """A registry with one package; counts how often it is asked."""

    def __init__(self):
        self.downloads = 0
        self.damage = lambda package: package

    def download(self, package: str, version: str, checksum: str, folder: Path) -> Path:
        self.downloads += 1
        return self.damage(make_wheel(folder / f"{package}-{version}.whl"))


@pytest.fixture
def registry(monkeypatch) -> Registry:
    fake = Registry()
    source = {
        "registry": "fake",
        "package": "pictures",
        "version": "1.0",
        "package_sha256": "",
        "files": {
            "a.nii": {"inside": "inside/a.nii", "sha256": sha256(CONTENT["inside/a.nii"])},
            "b.nii": {"inside": "inside/b.nii", "sha256": sha256(CONTENT["inside/b.nii"])},
        },
    }
    fake.source = source
    monkeypatch.setitem(recipes.DOWNLOADERS, "fake", fake.download)
    monkeypatch.setattr(recipes, "sources", lambda: {"pictures": source})
    return fake


def test_files_are_fetched_once(registry, tmp_path):
    folder = recipes.fetch("pictures", tmp_path / "cache")
    assert folder == tmp_path / "cache" / "pictures"
    assert (folder / "a.nii").read_bytes() == CONTENT["inside/a.nii"]
    assert recipes.fetch("pictures", tmp_path / "cache") == folder
    assert registry.downloads == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["pictures"], "something was left behind"


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_damaged_cache_is_fetched_again(registry, tmp_path, harm):
    folder = recipes.fetch("pictures", tmp_path)
    if harm == "changed":
        (folder / "b.nii").write_bytes(b"half an ima")
    else:
        (folder / "b.nii").unlink()
    recipes.fetch("pictures", tmp_path)
    assert (folder / "b.nii").read_bytes() == CONTENT["inside/b.nii"]
    assert registry.downloads == 2


def test_files_put_there_by_hand_are_accepted(registry, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name, content in CONTENT.items():
        (tmp_path / "pictures" / Path(name).name).write_bytes(content)
    recipes.fetch("pictures", tmp_path)
    assert registry.downloads == 0


def test_wrong_checksum_leaves_nothing(registry, tmp_path):
    registry.source["files"]["b.nii"]["sha256"] = sha256(b"another image")
    with pytest.raises(UserError, match="b.nii in pictures-1.0.whl has another checksum"):
        recipes.fetch("pictures", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_fetch_keeps_what_was_there(registry, tmp_path):
    folder = recipes.fetch("pictures", tmp_path)
    registry.source["files"]["b.nii"]["sha256"] = sha256(b"another image")
    with pytest.raises(UserError):
        recipes.fetch("pictures", tmp_path)
    assert (folder / "a.nii").exists()


def test_half_a_download_is_reported_and_removed(registry, tmp_path):
    def cut(package: Path) -> Path:
        package.write_bytes(package.read_bytes()[:-40])
        return package

    registry.damage = cut
    with pytest.raises(UserError, match="damaged.*fetch it again"):
        recipes.fetch("pictures", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_download_leaves_nothing(registry, tmp_path):
    def interrupt(package: Path) -> Path:
        raise KeyboardInterrupt

    registry.damage = interrupt
    with pytest.raises(KeyboardInterrupt):
        recipes.fetch("pictures", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_package_without_the_file_is_reported(registry, tmp_path):
    registry.source["files"]["b.nii"]["inside"] = "inside/c.nii"
    with pytest.raises(UserError, match="does not hold the expected file.*c.nii"):
        recipes.fetch("pictures", tmp_path)


def test_unknown_name_lists_the_names(registry, tmp_path):
    with pytest.raises(UserError, match="'photographs': choose from pictures"):
        recipes.fetch("photographs", tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(registry, tmp_path):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        recipes.fetch("pictures", tmp_path / "file")


@pytest.mark.parametrize(("program", "kind"), [("apt-get", "debian"), ("npm", "npm")])
def test_a_missing_client_says_what_to_do(registry, tmp_path, monkeypatch, program, kind):
    monkeypatch.setenv("PATH", "")
    registry.source["registry"] = kind
    with pytest.raises(registries.ClientMissing, match=f"{program} is not on this computer.*a.nii, b.nii"):
        recipes.fetch("pictures", tmp_path)
    assert not list(tmp_path.iterdir())


def test_command_line_skips_only_optional_images(registry, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    registry.source["registry"] = "npm"
    assert recipes.main(["pictures", "--to", str(tmp_path)]) == EXIT_BAD_INPUT
    assert "npm is not on this computer" in capsys.readouterr().err
    registry.source["optional"] = True
    assert recipes.main(["pictures", "--to", str(tmp_path)]) == EXIT_DONE
    assert "pictures: skipped. npm is not on this computer" in capsys.readouterr().out


def test_command_line_reports_and_goes_on(registry, tmp_path, capsys):
    assert recipes.main(["photographs", "pictures", "--to", str(tmp_path)]) == EXIT_BAD_INPUT
    assert (tmp_path / "pictures" / "a.nii").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_debian_package_is_read_without_dpkg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    package = make_deb(tmp_path / "pictures.deb")
    assert registries.read_members(package, CONTENT) == CONTENT


def test_source_archive_is_read(tmp_path):
    package = tmp_path / "pictures.tar.gz"
    package.write_bytes(make_tar("gz"))
    assert registries.read_members(package, CONTENT) == CONTENT


@pytest.mark.parametrize("name", ["pictures.deb", "pictures.tar.gz", "pictures.whl"])
@pytest.mark.parametrize("kept", [0, 6, 100, 220])
def test_a_cut_off_package_is_reported(tmp_path, name, kept):
    package = tmp_path / name
    makers = {".deb": make_deb, ".gz": lambda path: path.write_bytes(make_tar("gz")), ".whl": make_wheel}
    makers[package.suffix](package)
    package.write_bytes(package.read_bytes()[:kept])
    with pytest.raises(UserError, match="is damaged"):
        registries.read_members(package, CONTENT)


def test_failure_of_the_client_is_one_sentence(tmp_path):
    script = "import sys; print('noise', file=sys.stderr); sys.exit('ERROR: no such host')"
    with pytest.raises(UserError, match="could not fetch .* pictures.*said: ERROR: no such host") as caught:
        registries._run([sys.executable, "-c", script], tmp_path, "pictures")
    assert "\n" not in str(caught.value)


def test_pip_refuses_a_wheel_with_another_checksum(tmp_path, monkeypatch):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "pictures-1.0-py3-none-any.whl"
    with zipfile.ZipFile(make_wheel(wheel), "a") as archive:
        metadata = "Metadata-Version: 2.1\nName: pictures\nVersion: 1.0\n"
        archive.writestr("pictures-1.0.dist-info/METADATA", metadata)
        archive.writestr("pictures-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("pictures-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.mkdir()
    wrong.mkdir()
    package = registries.download_wheel("pictures", "1.0", sha256(wheel.read_bytes()), right)
    assert registries.read_members(package, CONTENT) == CONTENT
    with pytest.raises(UserError, match="another checksum"):
        registries.download_wheel("pictures", "1.0", sha256(b"another wheel"), wrong)


def test_every_source_is_complete_and_documented():
    document = (REPOSITORY / "DATA.md").read_text(encoding="utf-8")
    for name, source in recipes.sources().items():
        assert source["registry"] in registries.DOWNLOADERS
        assert f"`{source['package']}` {source['version']}" in document, f"DATA.md does not name {name}"
        assert source["package_sha256"] in document
        assert source["files"]
        for entry in source["files"].values():
            assert len(bytes.fromhex(entry["sha256"])) == 32
