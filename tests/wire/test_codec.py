"""The device's decoder and the server's: one corpus through both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.adapters import msgspec_codec
from tests.support.strategies import MESSAGES, values_of
from wire import codec
from wire.errors import MessageError
from wire.messages import Command, Head, Online, Plan, Samples, SamplesReport

DECODERS = {"device": codec.decode, "server": msgspec_codec.decode}


@pytest.fixture(params=DECODERS, ids=list(DECODERS))
def decode(request: pytest.FixtureRequest) -> Any:
    return DECODERS[request.param]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_message_survives_the_way_there_and_back(kind: Any, data: st.DataObject) -> None:
    message = data.draw(values_of(kind))
    payload = codec.encode(message)
    assert codec.decode(kind, payload) == message == msgspec_codec.decode(kind, payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"boot":"a"}',
        b'{"boot":1,"online":true}',
        b'{"boot":"a","online":1}',
        b'{"boot":"a","online":null}',
        b'{"boot":"a","online":true,"v":1.5}',
        b'{"boot":"a","online":true,"v":true}',
        b'{"boot":"a","online":true,"v":99999999999999999999}',
        b"[" * 100_000,
        b'{"boot":"a/b","online":true}',
        b'{"boot":"%b","online":true}' % (b"a" * 65),
        rb'{"boot":"a","online":true,"software":"\ud800"}',
        rb'{"boot":"a","online":true,"software":"\ud800","x":1234567890123456789012}',
    ],
)
def test_a_bad_payload_is_a_message_error_and_nothing_else(decode: Any, payload: bytes) -> None:
    with pytest.raises(MessageError) as refusal:
        decode(Online, payload)
    assert refusal.value.kind == "Online"
    assert "\n" not in str(refusal.value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_payload_raises_through_either_decoder(payload: bytes) -> None:
    for decode in DECODERS.values():
        for kind in MESSAGES:
            try:
                decode(kind, payload)
            except MessageError:
                continue


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_both_decoders_refuse_and_accept_the_same_values_of_a_field(value: Any) -> None:
    plan = {"sequence": 1, "group": "g", "model": "m", "release": value, "bundle_sha256": "0" * 64}
    payload = json.dumps(plan | {"rate_bytes_s": value}).encode()
    outcomes = []
    for decode in DECODERS.values():
        try:
            outcomes.append(decode(Plan, payload))
        except MessageError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


def test_an_unknown_field_of_a_newer_peer_is_ignored(decode: Any) -> None:
    assert decode(Command, b'{"name":"check-now","v":2,"colour":{"deep":[1]}}') == Command("check-now", v=2)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_a_number_that_json_does_not_have_is_refused(decode: Any, number: bytes) -> None:
    head = b'{"boot":"b","sequence":1,"first":1,"time_s":%b}' % number
    with pytest.raises(MessageError):
        decode(Head, head)


def test_nan_is_not_sent_either() -> None:
    with pytest.raises(MessageError):
        codec.encode(Head("b", 1, 1, float("nan")))


def test_columns_of_unequal_length_are_refused(decode: Any) -> None:
    body = b'{"release":"r","rate":1,"ids":["a"],"predicted":[],"confidence":[],"truth":[]}'
    head = b'{"boot":"b","sequence":1,"first":1,"time_s":0}'
    with pytest.raises(MessageError, match="unequal"):
        decode(SamplesReport, b'{"head":%b,"body":%b}' % (head, body))


def test_the_refusal_names_the_field() -> None:
    with pytest.raises(MessageError, match=r"body\.ids\[1\]: expected a string, got a number"):
        body = b'{"release":"r","rate":1,"ids":["a",2],"predicted":[],"confidence":[],"truth":[]}'
        codec.decode(
            SamplesReport, b'{"head":{"boot":"b","sequence":1,"first":1,"time_s":0},"body":%b}' % body
        )


def test_samples_cannot_be_made_with_unequal_columns() -> None:
    with pytest.raises(ValueError, match="unequal"):
        Samples("r", 1.0, ("a",), (), (), ())
