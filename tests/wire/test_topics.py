"""Every topic is built and parsed in one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import SettingsError
from wire.topics import (
    LEAVES,
    NAME,
    AlertTopic,
    BlobTopic,
    DeviceTopic,
    MetaTopic,
    PlanTopic,
    Topics,
    check_name,
)

TOPICS = Topics("edgeflock")
names = st.from_regex(NAME, fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)


@given(
    device=names,
    leaf=st.sampled_from(LEAVES),
    group=names,
    model=names,
    sha256=digests,
    index=st.integers(0, 2047),
)
def test_every_topic_parses_to_what_built_it(
    device: str, leaf: str, group: str, model: str, sha256: str, index: int
) -> None:
    assert TOPICS.parse(TOPICS.device(device, leaf)) == DeviceTopic(device, leaf)  # type: ignore[arg-type]
    assert TOPICS.parse(TOPICS.plan(group, model)) == PlanTopic(group, model)
    assert TOPICS.parse(TOPICS.blob(sha256, index)) == BlobTopic(sha256, index)
    for key in (group, f"{group}/{device}/{model}"):
        assert TOPICS.parse(TOPICS.alert(key)) == AlertTopic(key)
    assert TOPICS.parse(TOPICS.meta(f"{group}.json"[-64:].lstrip("._-"))) is not None


@pytest.mark.parametrize(
    "topic",
    [
        "edgeflock",
        "edgeflock/d/pi-1",
        "edgeflock/d/pi-1/unknown",
        "edgeflock/d/pi-1/online/more",
        "edgeflock/d/+/online",
        "edgeflock/d/../online",
        "edgeflock/d//online",
        "edgeflock/blobs/abc/0",
        "edgeflock/blobs/" + "a" * 64 + "/-1",
        "edgeflock/blobs/" + "a" * 64 + "/01",
        "edgeflock/blobs/" + "a" * 64 + "/²",
        "edgeflock/blobs/" + "A" * 64 + "/0",
        "edgeflock/alerts",
        "edgeflock/alerts/drift/digits",
        "edgeflock2/d/pi-1/online",
        "other/d/pi-1/online",
    ],
)
def test_what_is_none_of_ours_is_none(topic: str) -> None:
    assert TOPICS.parse(topic) is None


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "..", "-a", "a" * 65, "a b", "ü"])
def test_a_name_that_could_become_a_level_or_a_path_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="letters, digits"):
        check_name("device", name)


def test_a_prefix_may_have_levels_and_no_topic_exceeds_the_limit_of_aws_iot() -> None:
    topics = Topics("acme/edge")
    assert topics.parse(topics.device("pi-1", "online")) == DeviceTopic("pi-1", "online")
    longest = [topics.device("d", "telemetry"), topics.plan("g", "m"), topics.blob("a" * 64, 1)]
    assert all(topic.count("/") <= 7 for topic in longest)


def test_metadata_topics_hold_file_names_only() -> None:
    assert TOPICS.parse("edgeflock/meta/1.root.json") == MetaTopic("1.root.json")
    assert TOPICS.parse("edgeflock/meta/../x") is None
