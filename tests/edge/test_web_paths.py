"""Which path leads where, and which model answers."""

from __future__ import annotations

import pytest

from edge.runtime import Runtime
from edge.web.reply import HttpError
from edge.web.routing import Action, Route, route
from edge.web.shelf import LiveShelf, ModelShelf
from wire.errors import SettingsError


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v2", Route(Action.SERVER)),
        ("GET", "/v2/", Route(Action.SERVER)),
        ("GET", "/v2/health/live", Route(Action.LIVE)),
        ("HEAD", "/v2/health/ready", Route(Action.READY)),
        ("GET", "/v2/models/m", Route(Action.MODEL_METADATA, "m")),
        ("GET", "/v2/models/m/versions/3", Route(Action.MODEL_METADATA, "m", "3")),
        ("GET", "/v2/models/m/versions/3/ready", Route(Action.MODEL_READY, "m", "3")),
        ("POST", "/v2/models/m/infer", Route(Action.INFER, "m")),
        ("POST", "/v2/models/m/versions/3/infer", Route(Action.INFER, "m", "3")),
        ("GET", "/v1/models/m", Route(Action.TF_STATUS, "m")),
        ("GET", "/v1/models/m/versions/3/metadata", Route(Action.TF_METADATA, "m", "3")),
        ("GET", "/v1/models/m/metadata", Route(Action.TF_METADATA, "m")),
        ("POST", "/v1/models/m:predict", Route(Action.TF_PREDICT, "m")),
        ("POST", "/v1/models/m/versions/3:predict", Route(Action.TF_PREDICT, "m", "3")),
        ("POST", "/v1/models/m/labels/stable:predict", Route(Action.TF_PREDICT, "m", label="stable")),
        ("POST", "/feedback", Route(Action.FEEDBACK)),
        ("GET", "/metrics", Route(Action.METRICS)),
    ],
)
def test_a_documented_path_leads_to_its_action(method: str, path: str, expected: Route) -> None:
    assert route(method, path) == expected


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/", 404),
        ("GET", "/v2/models/m/versions", 404),
        ("POST", "/v2/models/m/explain", 404),
        ("POST", "/v1/models/m/versions/:predict", 404),
        ("POST", "/v1/models/:predict", 404),
        ("POST", "/v1/models/m:classify", 501),
        ("GET", "/v2/models/m/infer", 405),
        ("DELETE", "/v2/models/m", 405),
        ("PUT", "/metrics", 405),
    ],
)
def test_what_is_not_there_is_refused(method: str, path: str, status: int) -> None:
    with pytest.raises(HttpError) as refused:
        route(method, path)
    assert refused.value.status == status


def shelf(*versions: str) -> ModelShelf:
    shelf = ModelShelf()
    for version in versions:
        shelf.add("m", version, Runtime())
    return shelf


def test_the_newest_version_answers_who_names_none() -> None:
    assert shelf("9", "10", "2").find("m").version == "10"
    assert shelf("1.9", "1.10").find("m").version == "1.10"
    assert [place.version for place in shelf("1", "3", "2").versions("m")] == ["3", "2", "1"]


def test_a_label_stands_for_its_version() -> None:
    models = shelf("1", "2")
    models.label("m", "stable", "1")
    assert models.find("m", label="stable").version == "1"
    with pytest.raises(SettingsError, match="no m 7"):
        models.label("m", "canary", "7")


@pytest.mark.parametrize("asked", [("x", "", ""), ("m", "9", ""), ("m", "", "nightly")])
def test_a_model_version_or_label_that_is_not_there_is_not_found(asked: tuple[str, str, str]) -> None:
    with pytest.raises(HttpError) as refused:
        shelf("1").find(*asked)
    assert refused.value.status == 404


def test_the_same_version_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="given twice"):
        shelf("1", "1")


def test_a_live_shelf_before_its_first_model_is_there_and_not_ready() -> None:
    live = LiveShelf({"m": Runtime()})
    with pytest.raises(HttpError) as refused:
        live.find("m").model()
    assert refused.value.status == 503
