"""One agent with several models on a broker in memory: orders, reports and HTTP are about each of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.tuf_trust import TufTrust
from edge.agent_model import AgentModel, Shared, try_bundle
from edge.control import OwnModel
from edge.recorder import Recorder
from edge.results import Result, Sample
from edge.rollout import Wishes, wishes_about
from edge.runtime import Runtime
from edge.settings import ModelSettings
from edge.turns import Turns
from edge.web.shelf import LiveShelf
from fleet.releasing import seal
from tests.support.asgi import client_of, tiny_runtime
from tests.support.fakes import prediction
from tests.support.memory_agent import OWN, TOPICS, Agent
from tests.support.shelf import Goods, make_goods, put_on_broker
from tests.support.signed_fleet import SignedFleet
from tests.support.tiny_bundle import write_tiny_bundle
from wire.codec import encode
from wire.errors import EdgeflockError
from wire.messages import Command, Desired, Plan, Targets

ANTS, BEES = make_goods(1, 1000, "ants"), make_goods(1, 1000, "bees")
NEWER_ANTS, NEWER_BEES = make_goods(2, 1000, "ants"), make_goods(2, 1000, "bees")
ALL = [ANTS, BEES, NEWER_ANTS, NEWER_BEES]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path, models=("ants", "bees"))
    yield agent
    agent.outbox.close()


def release_all(agent: Agent, *plans: Plan) -> None:
    put_on_broker(agent.broker, ALL, list(plans), ["pi-1"])


def currents(agent: Agent) -> dict[str, str | None]:
    return {model.model: model.current for model in agent.reported().models}


def test_the_plans_of_all_models_are_followed_in_all_groups(agent: Agent) -> None:
    agent.tell(OWN["desired"], seal(Desired(1, ("all", "lab"), device="pi-1")))
    followed = {topic for topic in agent.link.filters if "/plan/" in topic}
    assert followed == {TOPICS.plan(g, m) for g in ("all", "lab") for m in ("ants", "bees")}
    agent.tell(OWN["desired"], seal(Desired(2, ("lab",), device="pi-1")))
    followed = {topic for topic in agent.link.filters if "/plan/" in topic}
    assert followed == {TOPICS.plan("lab", "ants"), TOPICS.plan("lab", "bees")}


def test_both_are_fetched_and_both_are_reported(agent: Agent) -> None:
    release_all(agent, ANTS.plan, BEES.plan)
    agent.step(100)
    assert currents(agent) == {"ants": "ants/1", "bees": "bees/1"}
    assert all(serving.serves for serving in agent.servings.values())
    assert {event.model for event in agent.events()} == {"ants", "bees"}


def test_a_pin_is_for_one_model(agent: Agent) -> None:
    release_all(agent, ANTS.plan, BEES.plan)
    agent.tell(OWN["desired"], seal(Desired(2, ("all",), {"bees": "bees/2"}, "pi-1")))
    agent.step(100)
    assert currents(agent) == {"ants": "ants/1", "bees": "bees/2"}


def test_a_plan_of_a_model_that_is_not_here_is_none_of_ours(agent: Agent) -> None:
    release_all(agent)
    agent.step()
    agent.link.subscribe([TOPICS.plan("all", "cats")])
    agent.tell(TOPICS.plan("all", "cats"), seal(replace(ANTS.plan, model="cats")))
    assert agent.control._bad["topic"] == 1


def test_a_new_state_of_any_model_is_told_at_once(agent: Agent) -> None:
    agent.step()
    release_all(agent, BEES.plan)
    seen = []
    for _ in range(60):
        agent.control._step(0)  # no time passes
        seen.append(agent.reported().models[1].state)
    assert {"idle", "stage"} <= set(seen)
    assert agent.reported().models[1].current == "bees/1"


def test_check_now_is_for_all_of_them(agent: Agent) -> None:
    agent.step()
    for model in agent.models.values():
        model.updater._failures = 3
    agent.tell(OWN["cmd"], encode(Command("check-now")))
    assert [model.updater._failures for model in agent.models.values()] == [0, 0]


def test_the_answers_of_each_are_sampled_and_what_was_lost_is_summed(agent: Agent) -> None:
    for name, model in agent.models.items():
        model.results.put(Result(Sample("7", None, 1), prediction(f"{name}/1"), 1.7e9))
        for _ in range(101):
            model.results.put(Result(Sample("7", None, 1), prediction(f"{name}/1"), 1.7e9))
        model.check.found = 1
    agent.clock.turn(10.0)
    agent.step()
    (report,) = agent.telemetry()
    assert (report.body.loss.results_dropped, report.body.loss.stuck_outputs) == (4, 2)
    sampled = [json.loads(payload)["body"]["release"] for t, payload in agent.broker.published
               if t == OWN["samples"]]  # fmt: skip
    assert set(sampled) == {"ants/1", "bees/1"}


def test_news_of_one_model_are_none_to_the_other() -> None:
    before = Wishes(Desired(1, ("all",)), (ANTS.plan, BEES.plan), Targets(1, (ANTS.release, BEES.release)))
    after = replace(before, plans=(ANTS.plan, NEWER_BEES.plan))
    assert wishes_about("ants", before) == wishes_about("ants", after)
    assert wishes_about("bees", before) != wishes_about("bees", after)
    assert wishes_about("bees", after).targets == Targets(1, (BEES.release,))


# --- refusals: whose order it was ---------------------------------------------------------------


class Signed:
    """An agent with two models in a fleet that signs."""

    def __init__(self, folder: Path) -> None:
        self.fleet = SignedFleet()
        self.fleet.release(ANTS.release, BEES.release)
        trust = TufTrust(self.fleet.files["1.root.json"], folder / "trust", self.fleet.now.timestamp)
        self.agent = Agent(folder, trust.open(), models=("ants", "bees"))
        self.server = self.agent.broker.link()
        self.server.start()
        put_on_broker(self.agent.broker, [ANTS, BEES], [], [])
        self.fleet.publish(self.server, TOPICS)

    def order(self, goods: Goods, payload: bytes | None = None) -> None:
        self.server.publish(OWN["desired"], self.fleet.seal(Desired(1, ("all",), device="pi-1")), retain=True)
        plan = TOPICS.plan("all", goods.plan.model)
        self.server.publish(plan, payload or self.fleet.seal(goods.plan), retain=True)
        self.agent.step(100)

    def errors(self) -> dict[str, str]:
        return {model.model: str(model.error) for model in self.agent.reported().models}


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Signed]:
    signed = Signed(tmp_path)
    yield signed
    signed.agent.outbox.close()


def test_a_plan_that_is_refused_is_told_of_its_model_alone(signed: Signed) -> None:
    signed.order(ANTS)
    signed.order(BEES, signed.fleet.seal(BEES.plan, by=signed.fleet.online))
    assert currents(signed.agent) == {"ants": "ants/1", "bees": None}
    assert signed.errors()["ants"] == "None"
    assert "VerificationError" in signed.errors()["bees"]
    assert [event.model for event in signed.agent.events() if event.cause == "refused"] == ["bees"]


def test_the_same_refusal_of_two_models_is_told_of_both(signed: Signed) -> None:
    for goods in (ANTS, BEES):
        signed.order(goods, signed.fleet.seal(goods.plan, by=signed.fleet.online))
    assert [event.model for event in signed.agent.events() if event.cause == "refused"] == ["ants", "bees"]


def test_an_unsigned_release_is_told_of_its_model_alone(signed: Signed) -> None:
    signed.order(NEWER_BEES)
    assert "UnsignedTargetError: bees/2" in signed.errors()["bees"]
    assert "UnsignedTargetError" not in signed.errors()["ants"]
    assert [event.model for event in signed.agent.events() if event.cause == "refused"] == ["bees"]


def test_a_desired_state_that_is_refused_is_told_of_all_of_them(signed: Signed) -> None:
    signed.order(ANTS)
    forged = signed.fleet.seal(Desired(2, ("all",), device="pi-1"), by=signed.fleet.online)
    signed.agent.tell(OWN["desired"], forged)
    signed.agent.step(60)
    assert all("VerificationError" in error for error in signed.errors().values())
    assert [event.model for event in signed.agent.events() if event.cause == "refused"] == ["ants"]


# --- HTTP ---------------------------------------------------------------------------------------


def test_all_models_are_on_the_shelf_and_ready_means_all_of_them(tmp_path: Path) -> None:
    tiny, other = tiny_runtime(tmp_path, "tiny/1"), Runtime()
    client = client_of(LiveShelf({"tiny": tiny, "other": other}))
    assert client.get("/v2/models/tiny/ready").status == 200
    assert client.get("/v2/models/other/ready").status == 503
    assert client.get("/v2/health/ready").status == 503
    tiny_runtime(tmp_path, "other/4", other)
    assert client.get("/v2/health/ready").status == 200
    assert client.get("/v2/models/other").json["versions"] == ["4"]
    assert client.get("/v2/models/third").status == 404
    client.close()


# --- first bundles ------------------------------------------------------------------------------


def start(settings: ModelSettings, folder: Path) -> OwnModel:
    """Start one of several models, without a link."""
    model = AgentModel(settings, folder, Recorder())
    model.open(alone=False)
    return model.recover(
        Shared("pi-1", lambda *_: pytest.fail("a download"), lambda _: None, time.monotonic, Turns())
    )


def test_each_starts_with_the_bundle_of_its_own_settings(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny-1.bundle")
    model = start(ModelSettings("tiny", bundle=str(bundle)), tmp_path / "state")
    assert (model.updater.report().current, model.updater.report().error) == ("tiny/1", None)


@pytest.mark.parametrize(("model", "bundle"), [("ants", "tiny-1.bundle"), ("tiny", "nowhere.bundle")])
def test_one_that_cannot_be_served_says_so_and_hinders_no_other(
    tmp_path: Path, model: str, bundle: str
) -> None:
    write_tiny_bundle(tmp_path / "tiny-1.bundle")
    settings = ModelSettings(model, bundle=str(tmp_path / bundle))
    report = start(settings, tmp_path / "state").updater.report()
    assert (report.current, bundle in str(report.error)) == (None, True)
    with pytest.raises(EdgeflockError, match=bundle):
        try_bundle(settings, strict=True)


def test_a_model_that_is_alone_does_not_start_without_its_bundle(tmp_path: Path) -> None:
    settings = ModelSettings("tiny", bundle=str(tmp_path / "nowhere.bundle"))
    with pytest.raises(EdgeflockError, match="nowhere"):
        AgentModel(settings, tmp_path / "state", Recorder()).open(alone=True)
