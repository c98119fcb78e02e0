"""Two versions of the protocol back are understood: what they said is kept as they said it."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

import pytest

from edge.trust import Unsigned
from fleet.adapters import msgspec_codec
from tests.support import corpus
from tests.support.strategies import MESSAGES
from wire import codec
from wire.codec import encode
from wire.messages import Desired, Envelope, Plan
from wire.protocol import OLDEST, VERSION

DECODERS = {"device": codec.decode, "server": msgspec_codec.decode}
KINDS = {kind.__name__: kind for kind in MESSAGES}
EARLIER = range(OLDEST, VERSION)

#: One of each message of each version that is understood.
SAID = [
    pytest.param(name, payload, id=f"{version}-{name}-{form}")
    for version in range(OLDEST, VERSION + 1)
    for name, form, payload in corpus.read(version)
]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("name", "payload"), SAID)
def test_what_an_earlier_version_said_is_read_with_all_that_it_says(
    name: str, payload: bytes, decoder: str
) -> None:
    decode: Any = DECODERS[decoder]
    message = decode(KINDS[name], payload)
    assert_kept(json.loads(payload), json.loads(json.dumps(asdict(message))))


@pytest.mark.parametrize("version", EARLIER)
def test_nothing_that_an_earlier_version_needs_is_left_out_now(version: int) -> None:
    now = {(name, form): json.loads(payload) for name, form, payload in corpus.read(VERSION)}
    for name, form, payload in corpus.read(version):
        if form == "least":
            assert_keys_kept(json.loads(payload), now[name, form], name)


def test_two_versions_back_are_understood() -> None:
    assert VERSION - OLDEST >= 2


def test_what_this_version_says_is_kept_for_later_ones() -> None:
    assert (corpus.FOLDER / f"{VERSION}.txt").read_text(encoding="utf-8") == corpus.corpus(), (
        "messages have changed: raise VERSION in wire/protocol.py if it was released with the old ones, and "
        "run python -m tests.support.corpus"
    )


@pytest.mark.parametrize("version", EARLIER)
def test_a_device_follows_the_orders_of_an_earlier_server(version: int) -> None:
    said = {name: payload for name, form, payload in corpus.read(version) if form == "full"}
    plan = Unsigned().plan(sealed("plan", said["Plan"]), group="lab", model="digits")
    assert plan == codec.decode(Plan, said["Plan"])
    desired = Unsigned().desired(sealed("desired", said["Desired"]), device="pi-1")
    assert desired == codec.decode(Desired, said["Desired"])


def sealed(kind: str, payload: bytes) -> bytes:
    return encode(Envelope(f"application/vnd.edgeflock.{kind}+json", base64.b64encode(payload).decode()))


def assert_kept(given: Any, read: Any) -> None:
    if isinstance(given, dict):
        for key, value in given.items():
            assert_kept(value, read[key])
    elif isinstance(given, list):
        assert len(given) == len(read)
        for one, other in zip(given, read, strict=True):
            assert_kept(one, other)
    else:
        assert given == read


def assert_keys_kept(before: Any, now: Any, where: str) -> None:
    if isinstance(before, dict):
        assert before.keys() <= now.keys(), where
        for key, value in before.items():
            assert_keys_kept(value, now[key], f"{where}.{key}")
    elif isinstance(before, list) and before and now:
        assert_keys_kept(before[0], now[0], where)
