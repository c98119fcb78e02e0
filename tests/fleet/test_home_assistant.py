"""What Home Assistant is told: its templates are run as it runs them, and what is gone is taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import SandboxedEnvironment

from fleet.adapters.broker import free_port, start_broker
from fleet.adapters.database import Database
from fleet.adapters.removal import Removal
from fleet.findings import FleetFacts, ReleaseFacts
from fleet.health_rules import HealthFacts, Reason, Verdict
from fleet.home_announcer import HomeAnnouncer
from fleet.home_assistant import MAX_DEVICES, MAX_MODELS, devices_now, state
from fleet.home_topics import Home, topics_of
from tests.fleet.test_evaluator import NOW_S, Fleet, refuse
from tests.support.examples import VITALS, counters, telemetry
from tests.support.locked_broker import LockedBroker, Voice, needs_mosquitto
from wire.adapters.paho_link import BrokerAddress
from wire.enrolment import SERVER_NAME
from wire.messages import ModelState, Reported
from wire.software import SOFTWARE

HOME = Home("homeassistant", "edgeflock")
NOBODY_LISTENS = 0x10
HEALTHY, HOT = Verdict("healthy"), Verdict("degraded", (Reason("hot", "83 °C"),))


def health(device: str = "pi-1", *models: str, online: bool = True) -> HealthFacts:
    said = tuple(ModelState(m, "idle", f"{m}/1") for m in models or ("digits",))
    body = telemetry(replace(counters(inferences=90), errors=0))
    body = replace(body, interval_s=60.0, vitals=replace(VITALS, temperature_c=51.37))
    return HealthFacts(device, online, 3.0, 60.0, NOW_S, Reported("b1", 1, NOW_S, said), body)


def facts(*seen: HealthFacts, verdict: Verdict = HEALTHY) -> FleetFacts:
    window = {one.device: replace(counters(inferences=1000, total=1000), labelled=100) for one in seen}
    window = {device: replace(c, correct=93) for device, c in window.items()}
    release = ReleaseFacts("digits/1", window, window)
    return FleetFacts({one.device: verdict for one in seen}, releases=[release], health=seen)


def standing(announcer: HomeAnnouncer, found: FleetFacts, at_s: float = NOW_S) -> dict[str, Any]:
    made = {p.topic: p.load() for p in announcer.publications(found, at_s)}
    return {topic: json.loads(payload) if payload else None for topic, payload in made.items()}


def shown(found: FleetFacts, device: str = "pi-1") -> dict[str, Any]:
    """Return what Home Assistant makes of a device: its entities' values, None for unavailable ones."""
    messages = standing(HomeAnnouncer(HOME), found)
    config, now = (messages[topic] for topic in topics_of(HOME, device))
    return dict(_values(config, now))


def _values(config: dict[str, Any], now: Any) -> Iterator[tuple[str, Any]]:
    environment = SandboxedEnvironment()

    def run(template: str) -> str:
        return environment.from_string(template).render(value_json=now, value=json.dumps(now))

    assert config["origin"]["name"]
    assert config["state_topic"] == HOME.state_topic(config["device"]["name"])
    for name, entity in config["components"].items():
        assert entity["platform"] in ("sensor", "binary_sensor")
        assert entity["unique_id"]
        available = run(entity.get("availability_template", "online")) == "online"
        yield name, run(entity["value_template"]) if available else None
        if "json_attributes_template" in entity:
            yield f"{name} more", json.loads(run(entity["json_attributes_template"]))


def test_a_device_is_one_entry_with_its_figures() -> None:
    assert shown(facts(health(), verdict=HOT)) == {
        "online": "ON",
        "problem": "ON",
        "problem more": {"health": "degraded", "reasons": "83 °C"},
        "rate": "1.5",
        "temperature": "51.4",
        "release-digits": "digits/1",
        "accuracy-digits": "93.0",
        "accuracy-digits more": {"low": 86.3, "high": 96.6, "labelled": 100},
        "p99-digits": "0.15",
    }


def test_figures_of_a_device_that_is_away_are_unavailable() -> None:
    found = shown(facts(health(online=False), verdict=Verdict("offline")))
    assert (found["online"], found["problem"], found["rate"]) == ("OFF", "ON", None)


def test_what_is_not_known_is_unknown() -> None:
    quiet = replace(health(), telemetry=None)
    found = shown(FleetFacts({"pi-1": HEALTHY}, health=[quiet]))
    assert {found[k] for k in ("rate", "temperature", "accuracy-digits", "p99-digits")} == {"None"}


def test_a_device_writes_no_template_and_no_message_that_is_too_large() -> None:
    lying = health("pi-1", "']}}{{ states.person }}", *(f"m{i}" for i in range(100)))
    (now,) = devices_now(facts(lying))
    assert [model.model for model in now.models] == [f"m{i}" for i in range(MAX_MODELS - 1)] + ["m7"]
    assert "states" not in json.dumps(shown(facts(lying)))


def test_the_agents_own_software_is_no_model() -> None:
    (now,) = devices_now(facts(health("pi-1", SOFTWARE, "digits")))
    assert [model.model for model in now.models] == ["digits"]


def test_every_name_has_an_id_of_its_own_that_home_assistant_takes() -> None:
    names = ("a.b", "a_b", "a-b", "a_2eb", "a__b")
    ids = {Home("homeassistant", prefix).device_id(n) for n in names for prefix in ("edgeflock", "x/y")}
    assert len(ids) == 10
    assert all(i.replace("_", "").replace("-", "").isalnum() and i.isascii() for i in ids)


def test_a_state_is_said_again_every_five_minutes_and_no_more_often() -> None:
    (now,) = devices_now(facts(health()))
    assert state(now, 600.0) == state(now, 899.0) != state(now, 900.0)


def test_what_is_gone_is_taken_back() -> None:
    announcer = HomeAnnouncer(HOME)
    standing(announcer, facts(health("pi-1", "digits", "birds"), health("pi-2")))
    found = standing(announcer, facts(health("pi-1", "digits")))
    assert [found[topic] for topic in topics_of(HOME, "pi-2")] == [None, None]
    parts = found[HOME.config_topic("pi-1")]["components"]
    assert parts["p99-birds"] == {"platform": "sensor"}
    assert "value_template" in parts["p99-digits"]
    again = standing(announcer, facts(health("pi-1", "digits"), health("pi-2")))
    assert again[HOME.config_topic("pi-2")]


def test_beyond_its_limit_no_device_takes_anothers_place(caplog: pytest.LogCaptureFixture) -> None:
    announcer = HomeAnnouncer(HOME)
    first = [health(f"pi-{i:03}") for i in range(MAX_DEVICES)]
    standing(announcer, facts(*first))
    for _ in range(2):
        found = standing(announcer, facts(*first, health("a-new-one")))
    assert None not in found.values()
    assert HOME.config_topic("a-new-one") not in found
    assert len(caplog.records) == 1
    assert "200 devices, 1 are left out" in caplog.text


def test_the_server_keeps_it_on_the_broker_until_the_device_is_removed(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, home=HOME)
    try:
        refuse(fleet, "pi-1", "pi-2", state="idle")
        topics = topics_of(HOME, "pi-1")
        fleet.evaluator.start()
        fleet.until(lambda: set(topics) <= fleet.broker.retained.keys())
        assert json.loads(fleet.broker.retained[topics[1]])["online"] is True
        database = Database(tmp_path).open()
        Removal(database).ask("pi-1")
        database.close()
        fleet.until(lambda: not fleet.broker.retained.keys() & {*topics})
        looked = fleet.evaluator.publications
        fleet.until(lambda: fleet.evaluator.publications is not looked)
        assert not fleet.broker.retained.keys() & {*topics}
        assert HOME.config_topic("pi-2") in fleet.broker.retained
    finally:
        fleet.close()


def test_one_that_was_removed_while_no_server_ran_is_taken_back_by_the_next(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, home=HOME)
    refuse(fleet, "pi-1", state="idle")
    for topic in topics_of(HOME, "pi-1"):
        fleet.voice.publish(topic, b"{}", retain=True)
    removal = Removal(fleet.database)
    removal.ask("pi-1")
    removal.erase("pi-1")
    fleet.server._look_now()
    fleet.until(lambda: not fleet.broker.retained.keys() & {*topics_of(HOME, "pi-1")})
    fleet.database.close()


@needs_mosquitto
def test_the_bridge_of_the_how_to_brings_it_to_another_broker_and_nothing_else(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "home-assistant.md").read_text(encoding="utf-8")
    theirs = BrokerAddress("127.0.0.1", free_port())
    bridge = page[page.index("connection home-assistant") :].split("```")[0]
    bridge = bridge.replace("homeassistant.local:1883", f"{theirs.host}:{theirs.port}")
    with ExitStack() as ends:
        ends.callback(start_broker(tmp_path / "theirs", theirs).stop)
        ours = LockedBroker.start(tmp_path / "ours", home="homeassistant", more=bridge)
        ends.callback(ours.stop)
        server = Voice(ours.address(ours.identity(SERVER_NAME)), SERVER_NAME)
        ends.callback(server.close)
        listener = Voice(theirs)
        ends.callback(listener.close)
        listener.subscribe("#")
        topics = (HOME.config_topic("pi-1"), "edgeflock/plan/all/digits", HOME.state_topic("pi-1"))
        for topic in topics:
            assert server.publish(topic, topic.encode(), retain=True) in (0, NOBODY_LISTENS)
        assert listener.hear_until(topics[2].encode()) == [(topics[0], topics[0].encode())]
