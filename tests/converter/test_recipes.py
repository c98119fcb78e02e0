from __future__ import annotations

import pytest

from converter.recipes import RECIPES, Rule, parse_rule
from wire.errors import SettingsError


def test_a_rule_names_an_operator_or_searches_layers() -> None:
    assert parse_rule("SOFTMAX=float32") == Rule("SOFTMAX", "float32")
    assert parse_rule("block_[12]=.*=weight-int8") == Rule("block_[12]=.*", "weight-int8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SOFTMAX", "PATTERN=RECIPE"),
        ("=float32", "PATTERN=RECIPE"),
        ("SOFTMAX=int7", "'int7' is none of float32, float16"),
        ("SOFTMAX=int8-float-io", "is none of"),
        ("dense(=float32", "no regular expression"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        parse_rule(text)
    assert "\n" not in str(caught.value)


def test_every_recipe_says_what_it_is_in_a_line_of_the_help() -> None:
    assert all(name == recipe.name for name, recipe in RECIPES.items())
    assert all(0 < len(recipe.summary) <= 80 for recipe in RECIPES.values())
    assert all(recipe.otherwise in ("", *RECIPES) for recipe in RECIPES.values())
    assert [name for name, recipe in RECIPES.items() if recipe.calibrates] == [
        "int8",
        "int8-float-io",
        "int16",
    ]
