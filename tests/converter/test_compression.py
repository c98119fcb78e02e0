"""Names of compressions, and the ladder that a search climbs."""

from __future__ import annotations

import pytest

from converter.compression import Compression, levels
from wire.errors import SettingsError


@pytest.mark.parametrize(
    ("name", "compression"),
    [
        ("none", Compression()),
        ("aware", Compression(aware=True)),
        ("prune90", Compression(sparsity=0.9)),
        ("prune97.5", Compression(sparsity=0.975)),
        ("4bit", Compression(bits=4)),
        ("prune90+4bit", Compression(sparsity=0.9, bits=4)),
        ("prune50+cluster16", Compression(sparsity=0.5, clusters=16)),
        ("prune7+3bit+aware", Compression(sparsity=0.07, bits=3, aware=True)),
    ],
)
def test_a_name_says_all_of_a_compression(name: str, compression: Compression) -> None:
    assert (Compression.parse(name), compression.name) == (compression, name)


def test_the_order_of_the_parts_is_free() -> None:
    assert Compression.parse("4bit+prune90").name == "prune90+4bit"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("", "'' is unknown, write prune90, 4bit,"),
        ("prune", "'prune' is unknown"),
        ("prune90 4bit", "'prune90 4bit' is unknown"),
        ("prune90+", "'' is unknown"),
        ("prune100", "prune100: give 1 to 99, the per cent"),
        ("prune0", "'prune0' changes nothing"),
        ("1bit", "1bit: give 2 to 7 bits"),
        ("8bit", "'8bit' changes nothing"),
        ("cluster0", "'cluster0' changes nothing"),
        ("cluster1", "cluster1: give 2 to 128"),
        ("cluster500", "cluster500: give 2 to 128"),
        ("4bit+5bit", "says twice"),
        ("4bit+cluster16", "exclude each other"),
    ],
)
def test_a_bad_name_is_refused_in_one_line(name: str, line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Compression.parse(name)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_ladder_rises_and_every_rung_has_a_name() -> None:
    ladder = levels()
    assert [Compression.parse(level.name) for level in ladder] == list(ladder)
    assert len(set(ladder)) == len(ladder)
    strengths = [(level.sparsity, -level.bits) for level in ladder]
    assert strengths == sorted(strengths)
