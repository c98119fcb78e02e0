"""The pure rules behind trust: floors, the clock, files that are missing, refusals, contracts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import BUILT_S, SAVE_EVERY_S, Moment, moment, to_save
from edge.floors import (
    Floor,
    SequenceFloorError,
    Signed,
    VersionFloorError,
    with_order,
    with_order_keys,
    with_roles,
)
from edge.metadata import ECHO_AFTER_S, MAX_FILES, MetadataFiles, MissingFileError, TooManyFilesError
from edge.refusals import MOST, Refusals
from tests.support.examples import MANIFEST
from wire.codec import decode, encode
from wire.contract import broken_terms, contract_of
from wire.manifest import Preprocessing
from wire.messages import MAX_PAYLOAD_BYTES

# --- floors -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), max_size=30))
def test_a_floor_only_rises_and_accepts_just_what_is_not_below_it(versions: list[int]) -> None:
    floor, highest = Floor(), 0
    for version in versions:
        try:
            floor = with_roles(floor, {"timestamp": Signed(version, "k")})
        except VersionFloorError:
            assert version < highest
        else:
            assert version >= highest
            highest = version
        assert floor.roles.get("timestamp", Signed(0, "k")).version == highest


def test_other_keys_open_the_floor_of_a_role_but_never_of_the_root() -> None:
    floor = with_roles(Floor(), {"timestamp": Signed(9, "old"), "root": Signed(4, "old")})
    assert with_roles(floor, {"timestamp": Signed(1, "new")}).roles["timestamp"] == Signed(1, "new")
    with pytest.raises(VersionFloorError):
        with_roles(floor, {"root": Signed(3, "new")})


def test_a_sequence_may_come_again_and_never_go_back_until_its_keys_change() -> None:
    floor = with_order(with_order_keys(Floor(), "k"), "all/digits", 5)
    assert with_order(floor, "all/digits", 5) is floor
    assert with_order(floor, "beta/digits", 1).orders == {"all/digits": 5, "beta/digits": 1}
    with pytest.raises(SequenceFloorError):
        with_order(floor, "all/digits", 4)
    assert with_order(with_order_keys(floor, "other"), "all/digits", 4).orders == {"all/digits": 4}


def test_the_saved_time_ends_with_the_keys_that_vouched_for_it() -> None:
    floor = replace(with_roles(Floor(), {"timestamp": Signed(7, "stolen")}), time_s=4e9)
    assert with_roles(floor, {"timestamp": Signed(8, "stolen")}).time_s == 4e9
    assert with_roles(floor, {"timestamp": Signed(1, "new")}).time_s == 0.0


def test_a_floor_survives_its_file() -> None:
    floor = Floor({"root": Signed(3, "k")}, {"desired": 7}, "k", 1.8e9)
    assert decode(Floor, encode(floor)) == floor


# --- the clock ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "source"),
    [
        ({"system_s": 2e9, "signed_s": 1.9e9, "saved_s": 1.8e9}, "system"),
        ({"system_s": 0.0, "signed_s": 1.9e9, "saved_s": 1.8e9}, "signed"),
        ({"system_s": 0.0, "signed_s": 1.8e9, "saved_s": 1.9e9}, "saved"),
        ({"system_s": 0.0, "signed_s": 0.0, "saved_s": 0.0}, "built"),
    ],
)
def test_time_is_the_latest_that_is_known(times: dict[str, float], source: str) -> None:
    assert moment(**times) == Moment(max(*times.values(), BUILT_S), source)


def test_a_clock_that_stands_in_2099_leaves_no_trace_behind_what_was_vouched_for() -> None:
    wrong = moment(system_s=4e9, signed_s=1.9e9, saved_s=1.9e9)
    saved_s = to_save(wrong, signed_s=1.9e9, vouched_until_s=1.9e9 + 86_400, saved_s=1.9e9)
    assert saved_s == 1.9e9 + 86_400
    assert to_save(wrong, signed_s=0.0, vouched_until_s=0.0, saved_s=0.0) == 0.0


def test_the_time_is_saved_in_steps_and_a_jump_at_once() -> None:
    def saved(now_s: float) -> float:
        return to_save(Moment(now_s, "system"), signed_s=0.0, vouched_until_s=2e9, saved_s=1.8e9)

    assert saved(1.8e9 + SAVE_EVERY_S - 1) == 1.8e9
    assert saved(1.8e9 + SAVE_EVERY_S) == 1.8e9 + SAVE_EVERY_S
    assert saved(1.8e9 + 9e6) == 1.8e9 + 9e6


# --- files --------------------------------------------------------------------------------------


def asked(files: MetadataFiles, name: str) -> None:
    with pytest.raises(MissingFileError):
        files.read(name)


def test_a_file_is_asked_for_with_an_echo_behind_it_and_is_absent_when_that_comes_first() -> None:
    files = MetadataFiles()
    asked(files, "2.root.json")
    ask = files.next(0.0)
    assert (ask.files, ask.again, ask.echo) == (("2.root.json",), (), 1)
    files.echo_sent(0.0)
    assert files.next(0.0).echo is None
    asked(files, "2.root.json")
    assert files.echoed(1)
    assert files.read("2.root.json") is None


def test_an_absent_file_that_appears_is_news_and_the_same_bytes_again_are_none() -> None:
    files = MetadataFiles()
    asked(files, "2.root.json")
    files.next(0.0)
    files.echoed(1)
    assert files.take("2.root.json", b"x")
    assert not files.take("2.root.json", b"x")
    assert files.read("2.root.json") == b"x"
    assert not files.take("unasked.json", b"x")


def test_a_new_connection_knows_nothing_of_what_is_absent() -> None:
    files = MetadataFiles()
    asked(files, "2.root.json")
    files.next(0.0)
    files.echoed(1)
    files.link_lost()
    asked(files, "2.root.json")
    assert files.next(0.0).again == ("2.root.json",)


def test_an_echo_that_is_lost_is_sent_again_and_an_old_or_forged_one_means_nothing() -> None:
    files = MetadataFiles()
    asked(files, "a.json")
    files.next(0.0)
    files.echo_sent(0.0)
    assert not files.echoed(7)
    assert files.next(ECHO_AFTER_S + 1).echo == 2
    assert files.echoed(2)
    assert not files.echoed(1)


def test_what_is_kept_is_bounded_in_number_and_size() -> None:
    files = MetadataFiles()
    for n in range(MAX_FILES):
        asked(files, f"{n}.root.json")
    with pytest.raises(TooManyFilesError):
        files.read("more.json")
    files.take("1.root.json", bytes(10**6))
    assert files.read("1.root.json") == bytes(MAX_PAYLOAD_BYTES + 1)


def test_what_was_absent_once_and_is_no_longer_looked_for_is_forgotten() -> None:
    files = MetadataFiles()
    for name in ("2.root.json", "5.snapshot.json"):
        asked(files, name)
    files.next(0.0)
    files.echoed(1)
    assert files.keep({"timestamp.json"}) == []
    assert files.read("2.root.json") is None
    assert files.keep({"timestamp.json"}) == ["5.snapshot.json"]
    assert files.forget() == ["2.root.json"]


# --- refusals and contracts ---------------------------------------------------------------------


def test_a_refusal_is_news_once_a_day_and_there_is_an_end_to_distinct_ones() -> None:
    refusals = Refusals()
    assert [refusals.first("a", s) for s in (0.0, 10.0, 86_400.0)] == [True, False, True]
    assert sum(refusals.first(f"b{n}", 86_401.0) for n in range(1000)) == MOST - 1


def test_a_contract_is_kept_by_new_weights_and_new_names_of_tensors_only() -> None:
    renamed = replace(
        MANIFEST, version="2", tflite_sha256="f" * 64, inputs=(replace(MANIFEST.inputs[0], name="serving:0"),)
    )
    assert broken_terms(contract_of(MANIFEST), contract_of(renamed)) == ()
    darker = replace(MANIFEST, labels=11, preprocessing=Preprocessing("image", channels=1))
    assert broken_terms(contract_of(MANIFEST), contract_of(darker)) == ("labels", "preprocessing")
