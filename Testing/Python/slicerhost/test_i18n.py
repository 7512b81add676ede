"""Translation of the texts of scripted modules."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def i18n(host):
    import slicer.i18n

    return slicer.i18n


@pytest.fixture
def translations(i18n, monkeypatch):
    """Return a dictionary of translations, (context, text) -> text, that the application uses."""
    known: dict[tuple[str, str], str] = {}
    import slicer

    def translate(context: str, text: str) -> str:
        return known.get((context, text), text)

    monkeypatch.setattr(type(slicer.app), "translate", staticmethod(translate), raising=False)
    return known


def test_text_without_translation_stays(i18n):
    assert i18n.tr("Apply {count} times") == "Apply {count} times"
    assert i18n.translate("SomeModule", "Apply") == "Apply"


def test_context_is_the_calling_file(i18n, translations):
    translations[Path(__file__).stem, "Apply"] = "Anwenden"
    translations["Other", "Apply"] = "Appliquer"
    assert i18n.tr("Apply") == "Anwenden"
    assert i18n.translate("Other", "Apply") == "Appliquer"


def test_context_in_a_package_begins_with_its_name(i18n, tmp_path):
    package = tmp_path / "Effects"
    package.mkdir()
    for name in ("__init__.py", "Draw.py"):
        (package / name).write_text("", encoding="utf-8")
    (tmp_path / "Module.py").write_text("", encoding="utf-8")
    assert i18n.getContext(str(package / "Draw.py")) == "Effects.Draw"
    assert i18n.getContext(str(tmp_path / "Module.py")) == "Module"
    assert i18n.getContext("<console>") == "<console>"


@pytest.mark.parametrize("wrong", ["{anzahl} Bilder", "Bilder", "{count Bilder"])
def test_translation_with_other_placeholders_is_not_used(i18n, translations, caplog, wrong):
    translations[Path(__file__).stem, "{count} images"] = wrong
    assert i18n.tr("{count} images") == "{count} images"
    assert "placeholders" in caplog.text


def test_translation_with_the_same_placeholders_is_used(i18n, translations):
    translations[Path(__file__).stem, "{a} of {b}"] = "{b}: {a}"
    assert i18n.tr("{a} of {b}").format(a=1, b=2) == "2: 1"
