"""Malicious archives: nothing is written outside the folder, there are no links, and the disk is not filled."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from pathlib import Path

import pytest
from MedDeepLib.bundles import archive
from MedDeepLib.errors import CannotWrite, UserError


def make_zip(path: Path, entries: dict[str, bytes], **attributes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            content.writestr(info, data)
    return path


def refusal(path: Path, tmp_path: Path) -> str:
    target = tmp_path / "inner" / "target"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        archive.unpack(path, target)
    assert not target.exists()
    assert [file for file in sorted(tmp_path.rglob("*")) if file.name != "inner"] == before, "something was written"
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    return str(caught.value)


def test_an_honest_archive_comes_out_as_it_went_in(tmp_path):
    files = {"model/configs/metadata.json": b"{}", "model/models/model.pt": os.urandom(3_000_000), "model/": b""}
    path = make_zip(tmp_path / "a.zip", files)
    seen = []
    archive.unpack(path, tmp_path / "out", lambda done, total: seen.append((done, total)))
    for name, data in files.items():
        if data:
            assert (tmp_path / "out" / name).read_bytes() == data
    assert seen[-1][0] == seen[-1][1] == 3_000_002


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "model/../../evil.txt",
        "/etc/evil.txt",
        "C:/evil.txt",
        "model\\..\\..\\evil.txt",
        "//server/share/evil",
        "model/file.txt:stream",
    ],
)
def test_names_that_lie_outside(tmp_path, name):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as content:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # as a malicious program writes it; zipfile would clean up the name
        content.writestr(info, b"evil")
    assert "is outside its folder" in refusal(path, tmp_path)


@pytest.mark.parametrize("name", ["model/CON", "model/aux.txt", "model/a\x01b", "model/name. ", "x" * 300])
def test_names_that_some_system_cannot_make(tmp_path, name):
    assert "invalid name" in refusal(make_zip(tmp_path / "a.zip", {name: b"x"}), tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_special_files(tmp_path, kind):
    path = make_zip(tmp_path / "a.zip", {"model/link": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)
    assert "is a link or a special file" in refusal(path, tmp_path)


def test_the_same_name_twice(tmp_path):
    """On many systems the second entry would be written through the first, which may be a link."""
    assert "twice" in refusal(make_zip(tmp_path / "a.zip", {"model/a": b"1", "model/A": b"2"}), tmp_path)


def test_ten_gigabytes_of_zeros(tmp_path):
    """They compress to ten megabytes: the size that the archive declares is enough to refuse it."""
    path, chunk = tmp_path / "bomb.zip", bytes(1 << 24)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(chunk) + packer.flush(zlib.Z_FULL_FLUSH)  # the compressed block can be repeated unchanged
    count = 10_000_000_000 // len(chunk)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        info = zipfile.ZipInfo("model/models/model.pt")
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, count * len(chunk)
        info.compress_size, info.CRC, info.header_offset = count * len(packed) + 2, 0, 0
        content.fp.write(info.FileHeader(zip64=True))
        for _ in range(count):
            content.fp.write(packed)
        content.fp.write(b"\x03\x00")
        content.filelist.append(info)
        content.start_dir, content._didModify = content.fp.tell(), True
    assert path.stat().st_size < 20_000_000
    with zipfile.ZipFile(path) as content:
        assert content.infolist()[0].file_size > 9_900_000_000
    assert "would grow from" in refusal(path, tmp_path)


def test_more_than_a_model_may_have(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    assert "more than the 1 kB" in refusal(make_zip(tmp_path / "a.zip", {"m/a": os.urandom(2000)}), tmp_path)


def test_an_archive_that_lies_about_its_sizes(tmp_path):
    """The header says ten bytes, the data are a megabyte: only ten are written, and the mismatch is detected."""
    path = make_zip(tmp_path / "a.zip", {"model/a": b"y" * 1_000_000})
    data = path.read_bytes()
    lie = data.replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lie != data
    path.write_bytes(lie)
    assert "damaged" in refusal(path, tmp_path)


def test_overlapping_entries(tmp_path):
    """The trick of the densest zip bombs: many entries share the same compressed data."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("model/0", os.urandom(1000))
        first = content.infolist()[0]
        for number in range(1, 200):
            copy = zipfile.ZipInfo(f"model/{number}")
            copy.header_offset, copy.compress_type, copy.CRC = first.header_offset, first.compress_type, first.CRC
            copy.file_size, copy.compress_size = first.file_size, first.compress_size
            content.filelist.append(copy)
            content.NameToInfo[copy.filename] = copy
    assert "overlap" in refusal(tmp_path / "a.zip", tmp_path)


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_FILES", 10)
    assert "holds 11 files" in refusal(make_zip(tmp_path / "a.zip", {f"m/{n}": b"" for n in range(11)}), tmp_path)


@pytest.mark.parametrize("damage", ["cut", "altered", "no zip"])
def test_damaged_archives(tmp_path, damage):
    path = make_zip(tmp_path / "a.zip", {"model/a": os.urandom(10_000)})
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:5000]
    elif damage == "altered":
        data[2000] ^= 0xFF
    else:
        data = bytearray(b"not a zip file")
    path.write_bytes(data)
    assert "is damaged" in refusal(path, tmp_path)


def test_a_password(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"model/a": b"secret"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    assert "password" in refusal(path, tmp_path)


def test_a_full_disk(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "a.zip", {"model/a": os.urandom(5000)})
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CannotWrite, match="free some space"):
        archive.unpack(path, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_folders_with_links_are_not_copied(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (source / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="is a link"):
        archive.copy(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_packed_is_unpacked(tmp_path):
    source = tmp_path / "source"
    (source / "configs").mkdir(parents=True)
    (source / "configs" / "a.json").write_text("{}", encoding="utf-8")
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "evil.pyc").write_bytes(b"evil")
    archive.pack(source, tmp_path / "a.zip", "name")
    archive.pack(source, tmp_path / "b.zip", "name")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    archive.unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").rglob("*") if file.is_file()] == ["a.json"]


def test_compiled_python_is_left_behind(tmp_path):
    """It would run in place of the readable source."""
    path = make_zip(
        tmp_path / "a.zip", {"m/a.py": b"1", "m/__pycache__/a.cpython-312.pyc": b"evil", "m/b.pyc": b"evil"}
    )
    archive.unpack(path, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").rglob("*") if file.is_file()] == ["a.py"]
