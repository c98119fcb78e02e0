"""A folder for each model of a device: nothing is shared, and no order of the settings mixes models up."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.adapters.model_folders import heir_of, model_folders
from edge.adapters.model_store import ModelStore
from edge.pointer import Pointer, Slot, committed, installed
from tests.support.shelf import make_goods
from wire.errors import UnavailableError

MODELS = ("ants", "bees", "cats")
SLOTS = {model: Slot(f"{model}/1", str(n) * 64) for n, model in enumerate(MODELS, 1)}


def install(folder: Path, model: str) -> None:
    store = ModelStore(folder)
    store.open()
    store.write_pointer(committed(installed(store.read_pointer(), SLOTS[model])))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_single_model_has_the_state_folder_and_leaves_nothing_else_in_it(tmp_path: Path) -> None:
    assert model_folders(tmp_path, ["ants"]) == {"ants": tmp_path}
    assert names_in(tmp_path) == set()


def test_a_further_model_gets_a_folder_and_the_one_that_was_there_keeps_its_own(tmp_path: Path) -> None:
    install(tmp_path, "bees")
    for models in itertools.permutations(MODELS):
        folders = model_folders(tmp_path, models)
        assert folders["bees"] == tmp_path
        assert folders["ants"] == tmp_path / "further" / "ants"
        assert folders["ants"].is_dir()


def test_on_a_new_device_the_first_one_has_the_state_folder_for_good(tmp_path: Path) -> None:
    before = model_folders(tmp_path, ["ants", "bees"])
    assert before["ants"] == tmp_path
    assert model_folders(tmp_path, ["bees", "ants"]) == before


def test_what_was_taken_out_of_the_settings_is_not_given_to_another(tmp_path: Path) -> None:
    install(tmp_path, "ants")
    model_folders(tmp_path, ["ants", "bees"])
    assert model_folders(tmp_path, ["bees"]) == {"bees": tmp_path / "further" / "bees"}
    assert tmp_path not in model_folders(tmp_path, ["cats", "bees"]).values()
    assert model_folders(tmp_path, ["bees", "ants"])["ants"] == tmp_path


def test_a_single_model_that_was_renamed_goes_on_as_it_always_did(tmp_path: Path) -> None:
    install(tmp_path, "ants")
    assert model_folders(tmp_path, ["bees"]) == {"bees": tmp_path}


def test_a_release_of_nobody_here_is_nobodys() -> None:
    assert heir_of(Pointer(Slot("moths/1", "0" * 64)), MODELS, frozenset()) is None


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "further").write_text("in the way")
    with pytest.raises(UnavailableError, match="Not a directory"):
        model_folders(tmp_path, MODELS)


@given(st.lists(st.lists(st.sampled_from(MODELS), min_size=1, unique=True), min_size=1, max_size=6))
def test_whatever_the_settings_say_in_turn_a_model_finds_its_own_pointer_or_none(
    starts: list[list[str]],
) -> None:
    """Each start installs what has nothing yet; a sole model may take over the state folder."""
    with tempfile.TemporaryDirectory() as folder:
        several = [models for models in starts if len(models) > 1]
        for models in several:
            for model, place in model_folders(Path(folder), models).items():
                store = ModelStore(place)
                store.open()
                assert store.read_pointer().current in (None, SLOTS[model])
                install(place, model)
        for models in several:
            for model, place in model_folders(Path(folder), models).items():
                assert ModelStore(place).read_pointer().current == SLOTS[model]


def test_neither_a_download_nor_a_collection_takes_what_another_model_keeps(tmp_path: Path) -> None:
    goods = {model: make_goods(1, 1000, model) for model in ("ants", "bees")}
    stores = {m: ModelStore(folder) for m, folder in model_folders(tmp_path, list(goods)).items()}
    for model, store in stores.items():
        store.open()
        store.adopt(goods[model].bundle, goods[model].release.name)
        store.reserve(goods[model].release.blobs[0], goods[model].release)
    for model, other in (("ants", "bees"), ("bees", "ants")):
        next_one = make_goods(2, 1000, model).release
        stores[model].reserve(next_one.blobs[0], next_one)
        stores[model].collect(frozenset())
        assert stores[model].on_disk() == frozenset()
        stores[model].adopt(goods[model].bundle, goods[model].release.name)
        assert stores[other].holds(goods[other].release.bundle_sha256)
    parts = {model: names_in(folder / "parts") for model, folder in model_folders(tmp_path, MODELS).items()
             if model in goods}  # fmt: skip
    assert {len(names) for names in parts.values()} == {1}
