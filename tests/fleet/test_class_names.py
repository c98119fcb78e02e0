"""Classes are called what the bundle calls them, whatever that is, and a person may write either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.class_names import LONGEST, ClassNames, cleaned
from fleet.release_words import ReleaseWords
from fleet.releasing import build
from tests.support.examples import MANIFEST
from tests.support.tiny_bundle import write_tiny_bundle
from wire.errors import SettingsError
from wire.manifest import Postprocessing
from wire.reference import COLUMN, Feature, Reference

ANIMALS = ClassNames(("cat", "dog", "dog", "1", ""))


def test_a_push_keeps_what_the_bundle_calls_its_classes_and_columns(tmp_path: Path) -> None:
    feature = Feature("petal width", COLUMN, (1.0,), (5, 5), column=3)
    bundle = write_tiny_bundle(tmp_path / "tiny.bundle", reference=Reference(10, (feature,)))
    database = Database(tmp_path).open()
    registry = Registry(database).open()
    built = build(bundle.read_bytes(), name="tiny")
    registry.add_release(replace(built, words=ReleaseWords()))  # as one from before there were words
    assert registry.known("tiny/1") == (built.release, ReleaseWords())
    registry.add_release(built)
    assert registry.known("tiny/1") == (
        built.release,
        ReleaseWords(("a", "b", "c", "d"), {"3": "petal width"}),
    )
    assert registry.known("tiny/9") is None
    database.close()


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("seven", "seven"), (" a\tb\r\nc ", "a b c"), ("\x1b[31mred\x00", "[31mred"), ("\u202eevil", "evil"),
        ("\u200b\u2066", ""), ("é\u4e2d", "é\u4e2d"), ("x" * 1_000_000, "x" * (LONGEST - 1) + "…"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_hostile_label_is_one_short_line(label: str, shown: str) -> None:
    assert cleaned(label) == shown
    assert ClassNames((label,)).name(0) == (shown or None)


def test_a_class_without_a_name_has_none() -> None:
    assert [ANIMALS.name(n) for n in (-1, 0, 4, 5, None)] == [None, "cat", None, None, None]
    assert [ANIMALS.entry(n) for n in (0, 3, 4)] == ["0 cat", "3 1", "4"]


def test_names_stand_where_the_device_has_them() -> None:
    def names(labels: tuple[str, ...], task: str, **how: int) -> list[str | None]:
        manifest = replace(MANIFEST, task=task, postprocessing=Postprocessing(**how))
        return [ClassNames.of(labels, manifest).name(n) for n in range(3)]

    assert names(("off", "on"), "binary") == ["off", "on", None]
    assert names(("person",), "binary") == [None, "person", None]
    assert names(("a", "b"), "classes", first_class=1) == [None, "a", "b"]


@pytest.mark.parametrize(("text", "number"), [("cat", 0), ("0", 0), (" 2  dog ", 2), ("3 1", 3), ("4", 4)])
def test_a_person_may_write_a_number_a_name_or_both(text: str, number: int) -> None:
    assert ANIMALS.number(text) == number


@pytest.mark.parametrize("text", ["dog", "1", "5", "", "-1", "cow", "0 dog", "٣", "9" * 30])
def test_what_may_be_two_classes_or_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        ANIMALS.number(text)


def test_without_names_any_number_is_a_class() -> None:
    assert ClassNames().number("77") == 77
    with pytest.raises(SettingsError, match="no class: write its number"):
        ClassNames().number("cat")
