"""Who gets in, who may act, and what is written down of it: a real page on a real socket."""

from __future__ import annotations

import asyncio
import html
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from edgeflock import main
from fleet.adapters.accounts import Accounts
from fleet.adapters.audit_log import AuditLine, AuditLog
from fleet.adapters.database import Database
from fleet.adapters.report_store import ReportStore
from fleet.adapters.web_desk import Desk, Store
from fleet.web.access import FREE_GUESSES
from fleet.web.shield import CONTENT_POLICY
from tests.support.filled_fleet import Filling, fill, report
from tests.support.page_client import PASSWORD, PATHS, Client, add_account, page_of, standing_plan


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    fill(folder, Filling(devices=8, reports=2))
    return folder


@pytest.fixture(scope="module")
def port(state: Path) -> Iterator[int]:
    with page_of(state) as port:
        yield port


@pytest.fixture
def visitor(port: int) -> Client:
    return Client(port)


@pytest.fixture
def operator(port: int) -> Client:
    client = Client(port)
    assert client.log_in().status == 303
    return client


def audit(state: Path) -> list[AuditLine]:
    database = Database(state).open()
    try:
        return AuditLog(database).lines(100)
    finally:
        database.close()


def steer(client: Client, act: str, *, origin: str | None = "", **changed: str) -> int:
    """Do what the form of a confirmation does; return the status."""
    page = client.get(f"/rollouts/all/digits/{act}").text
    sequence = page.split('name="sequence" value="')[1].split('"')[0] if 'name="sequence"' in page else "2"
    fields = {"token": client.token(), "sequence": sequence} | changed
    return client.post(f"/rollouts/all/digits/{act}", fields, origin=origin).status


@pytest.mark.parametrize("path", PATHS)
def test_without_a_session_there_is_only_the_log_in(visitor: Client, path: str) -> None:
    reply = visitor.get(path)
    assert (reply.status, reply.text) == (303, "")
    assert reply.headers["location"].startswith("/login")


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_there_and_forbids_what_it_does_not_need(operator: Client, path: str) -> None:
    reply = operator.get(path)
    assert reply.status == 200
    assert reply.headers["content-security-policy"] == CONTENT_POLICY
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["cache-control"] == "no-store"
    assert "<script>" not in reply.text
    assert " style=" not in reply.text
    assert " onclick=" not in reply.text


@pytest.mark.parametrize("path", ["/devices/%E2%82%AC", "/devices/a%26b", "/devices/%C3%A9%20x"])
def test_any_path_leads_through_the_log_in_back_to_it(visitor: Client, path: str) -> None:
    sent = visitor.get(path)
    assert (sent.status, sent.headers["location"]) == (303, f"/login?next={path}")
    field = visitor.get(sent.headers["location"]).text.split('name="next" value="')[1].split('"')[0]
    back = visitor.post("/login", {"name": "operator", "password": PASSWORD, "next": html.unescape(field)})
    assert (back.status, back.headers["location"].isascii()) == (303, True)


@pytest.mark.parametrize("path", ["/devices/%00", "/devices/a%0D%0AX-Evil:%201", "/devices/%FF"])
def test_a_path_of_garbage_is_no_header_and_no_failure(visitor: Client, path: str) -> None:
    sent = visitor.get(path)
    assert (sent.status, "x-evil" in sent.headers) == (303, False)


def test_a_page_that_failed_forbids_as_much_as_any_other(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: AuditLog, *_: object) -> NoReturn:
        raise RuntimeError("a fault")

    monkeypatch.setattr(AuditLog, "lines", fail)
    reply = operator.get("/audit")
    assert (reply.status, reply.headers["content-security-policy"]) == (500, CONTENT_POLICY)
    assert reply.headers["cache-control"] == "no-store"


def test_while_the_store_is_locked_changes_wait_in_vain_and_pages_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.adapters.web_desk._BUSY_S", 0.05)
    fill(tmp_path, Filling(devices=1, reports=1))
    with page_of(tmp_path) as port:
        client = Client(port)
        assert client.log_in().status == 303
        with sqlite3.connect(tmp_path / "fleet.db", isolation_level=None) as other:
            other.execute("begin immediate")
            assert client.get("/").status == 200
            reply = Client(port).log_in()
            assert (reply.status, str(tmp_path) in reply.text) == (503, False)
            fields = {"token": client.token(), "device": "sim-00000", "sample": "s", "truth": "1"}
            reply = client.post("/samples/label", fields)
            assert (reply.status, str(tmp_path) in reply.text) == (503, False)
            assert steer(client, "pause") == 503
            other.execute("rollback")
        other.close()
        assert Client(port).log_in().status == 303


def test_while_a_change_waits_for_another_writer_pages_are_read(tmp_path: Path) -> None:
    Database(tmp_path).open().close()
    desk, asked = Desk(tmp_path), threading.Event()

    def change(store: Store) -> None:
        asked.set()
        with store.transaction():
            store.audit.add("somebody", "here", "change")

    async def look() -> tuple[bool, int]:
        await desk.change(lambda store: store.audit.lines(1))  # the first one writes the cookies' key
        with sqlite3.connect(tmp_path / "fleet.db", isolation_level=None) as other:
            other.execute("begin immediate")
            waiting = asyncio.ensure_future(desk.change(change))
            assert await asyncio.to_thread(asked.wait, 60)
            await desk.ask(lambda store: store.reading.devices())
            waits = not waiting.done()
            other.execute("rollback")
            await waiting
        other.close()
        return waits, await desk.ask(lambda store: len(store.audit.lines(10)))

    try:
        assert asyncio.run(look()) == (True, 1)
    finally:
        desk.close()


def test_who_reads_after_a_change_sees_it(tmp_path: Path) -> None:
    Database(tmp_path).open().close()
    desk = Desk(tmp_path)

    def add(store: Store) -> None:
        with store.transaction():
            ReportStore(store._database).open().take([report("pi-1", 1, time.time(), "digits/1")])

    async def look() -> list[int]:
        seen = [await desk.ask(lambda store: len(store.reading.devices()))]
        await desk.change(add)
        return [*seen, await desk.ask(lambda store: len(store.reading.devices()))]

    try:
        assert asyncio.run(look()) == [0, 1]
    finally:
        desk.close()


def test_a_store_that_cannot_be_read_is_told_so(
    operator: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_self: Accounts, *_: object) -> NoReturn:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Accounts, "session", fail)
    assert operator.get("/").status == 503
    assert "the page / had no answer: the store does not answer: disk I/O error" in caplog.text


def test_the_cookie_is_of_no_use_to_scripts_and_other_sites(visitor: Client) -> None:
    cookie = visitor.log_in().headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie, "this page is on plain HTTP, of this machine only"


def test_a_cookie_that_was_changed_or_made_up_is_none(port: int, operator: Client) -> None:
    (name, value) = next(iter(operator.cookies.items()))
    turned = {i: value[:i] + ("A" if value[i] != "A" else "B") + value[i + 1 :] for i in (5, len(value) - 9)}
    for forged in (*turned.values(), "x" + value, "made-up", ""):
        assert Client(port, {name: forged}).get("/").status == 303


def test_a_log_out_ends_the_session_whoever_has_the_cookie(port: int, operator: Client) -> None:
    kept = dict(operator.cookies)
    assert operator.post("/logout", {"token": operator.token()}).status == 303
    assert operator.cookies == {}
    assert Client(port, kept).get("/").status == 303


def test_a_new_password_ends_the_sessions_of_its_account(state: Path, operator: Client) -> None:
    add_account(state, "operator", "operator")
    assert operator.get("/").status == 303


def test_a_living_part_asks_to_log_in_when_the_session_has_ended(visitor: Client) -> None:
    reply = visitor.get("/", HX_Request="true")
    assert (reply.status, reply.headers["hx-redirect"]) == (200, "/login")


def test_an_operator_steers_the_real_plan_and_the_audit_tells(state: Path, operator: Client) -> None:
    assert steer(operator, "pause") == 303
    assert standing_plan(state).state == "pause"
    assert steer(operator, "resume") == 303
    assert standing_plan(state).state == "run"
    done = [(a.who, a.action, a.subject, a.outcome) for a in audit(state)[:2]]
    assert done == [
        ("operator", "resume", "digits/2 in all", "done"),
        ("operator", "pause", "digits/2 in all", "done"),
    ]
    assert audit(state)[0].source == "127.0.0.1"
    assert "digits/2 in all" in operator.get("/audit").text


def test_a_viewer_sees_everything_and_can_do_nothing(state: Path, port: int) -> None:
    viewer = Client(port)
    viewer.log_in("viewer")
    assert [viewer.get(path).status for path in PATHS] == [200] * len(PATHS)
    rollouts = viewer.get("/rollouts").text
    assert "No gates defined" in rollouts
    assert "/rollouts/all/digits/pause" not in rollouts
    assert viewer.get("/rollouts/all/digits/pause").status == 403
    assert steer(viewer, "pause") == 403
    assert viewer.post("/samples/label", {"token": viewer.token(), "truth": "1"}).status == 403
    assert standing_plan(state).state == "run"
    assert (audit(state)[0].who, audit(state)[0].action) == ("viewer", "refused")


def test_a_form_of_another_site_or_session_changes_nothing(state: Path, port: int, operator: Client) -> None:
    other = Client(port)
    other.log_in()
    assert steer(operator, "pause", origin="http://evil.example") == 403
    assert steer(operator, "pause", origin=None) == 403
    assert steer(operator, "pause", token="") == 403
    assert steer(operator, "pause", token=other.token()) == 403
    assert operator.post("/logout", {"token": other.token()}).status == 403
    assert standing_plan(state).state == "run"


def test_a_log_in_by_another_site_is_refused(visitor: Client) -> None:
    fields = {"name": "operator", "password": "correct horse battery"}
    assert visitor.post("/login", fields, origin="http://evil.example").status == 403
    assert visitor.cookies == {}


def test_a_plan_that_has_changed_meanwhile_is_left_as_it_is(state: Path, operator: Client) -> None:
    assert steer(operator, "pause", sequence="1") == 503
    assert standing_plan(state).state == "run"
    assert "has changed since you looked" in audit(state)[0].outcome


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rollouts/all/faces/pause", 404),
        ("/rollouts/all/digits/explode", 404),
        ("/rollouts/all/digits/resume", 303),
    ],
)
def test_what_is_not_there_is_told(operator: Client, path: str, status: int) -> None:
    database_sequence = operator.get("/rollouts/all/digits/pause").text.split('name="sequence" value="')[1]
    fields = {"token": operator.token(), "sequence": database_sequence.split('"')[0]}
    assert operator.post(path, fields).status == status


def test_a_number_that_is_none_is_told(operator: Client) -> None:
    assert operator.get("/audit?before=%C2%B2").status == 400
    assert operator.get("/audit?before=").status == 200


def test_a_label_is_stored_with_its_author(state: Path, operator: Client) -> None:
    fields = {"token": operator.token(), "device": "sim-00002", "sample": "sim-1-2-0", "release": "digits/1"}
    assert operator.post("/samples/label", fields | {"truth": "7"}).status == 303
    row = operator.get("/samples?show=all").text.split('id="s-sim-00002-sim-1-2-0"')[1].split("</tr>")[0]
    assert "operator" in row
    assert 'value="7 seven"' in row
    for bad in ({"truth": "-1"}, {"truth": "x"}, {"truth": "1", "device": "nobody"}, {"truth": "99999"}):
        assert operator.post("/samples/label", fields | bad).status == 400


def test_an_alert_is_noted_with_a_name_and_once_it_is_over_that_is_told(
    state: Path, port: int, operator: Client
) -> None:
    viewer = Client(port)
    viewer.log_in("viewer")
    assert "I know" not in viewer.get("/").text
    assert viewer.post("/alerts/note", {"token": viewer.token(), "key": "device-silent"}).status == 403
    fields = {"token": operator.token(), "key": "device-silent"}
    assert "noted by" not in operator.get("/").text
    assert operator.post("/alerts/note", fields).status == 303
    assert "noted by operator" in operator.get("/").text
    assert (audit(state)[0].action, audit(state)[0].subject) == ("note alert", "device-silent")
    assert operator.post("/alerts/note", fields | {"key": "drift/digits/9"}).status == 404


def test_a_request_for_another_name_or_with_a_huge_body_is_refused(visitor: Client) -> None:
    assert visitor.get("/", Host="evil.example").status == 421
    assert visitor.post("/login", {"name": "x" * 70_000, "password": ""}).status == 413
    assert visitor.post("/login", {"name": "x" * 70_000}, Content_Length="0" * 9 + "70005").status == 413
    assert visitor.get("/no/such/page").status == 404
    assert visitor.get("/static/../application.py").status == 404


def test_wrong_passwords_are_throttled_and_audited(state: Path, tmp_path: Path) -> None:
    fill(tmp_path, Filling(devices=1, reports=1))
    with page_of(tmp_path) as port:
        client = Client(port)
        statuses = [client.log_in(password=f"wrong {i}").status for i in range(FREE_GUESSES)]
        assert statuses == [401] * FREE_GUESSES
        assert client.log_in("nobody").status == 429
        reply = client.log_in()
        assert (reply.status, "Retry-After".lower() in reply.headers) == (429, True)
        assert client.cookies == {}
        told = {(a.who, a.outcome) for a in audit(tmp_path)}
        assert told == {("operator", "wrong name or password")}


def test_a_page_without_accounts_says_how_to_make_one(tmp_path: Path) -> None:
    fill(tmp_path, Filling(devices=1, reports=1))
    with page_of(tmp_path) as port:
        database = Database(tmp_path).open()
        database.sql.execute("delete from web_account")
        database.close()
        assert "edgeflock fleet password" in Client(port).get("/login").text


def test_an_account_is_listed_and_removed_with_its_sessions_and_that_is_audited(
    state: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    add_account(state, "porch", "viewer")
    visitor = Client(port)
    assert visitor.log_in("porch").status == 303
    assert visitor.get("/").status == 200
    assert main(["fleet", "user", "list", "--state", str(state)]) == 0
    assert "porch (viewer)\n" in capsys.readouterr().out
    assert main(["fleet", "user", "remove", "porch", "--state", str(state)]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("porch: no longer let in\n", "")
    assert visitor.get("/").status == 303
    assert Client(port).log_in("porch").status == 401
    assert (audit(state)[1].action, audit(state)[1].subject) == ("remove account", "porch")
    assert main(["fleet", "user", "list", "--json", "--state", str(state)]) == 0
    assert {"name": "operator", "role": "operator"} in json.loads(capsys.readouterr().out)


def test_of_accounts_of_which_one_is_not_there_none_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_account(tmp_path, "operator", "operator")
    command = ["fleet", "user", "remove", "operator", "nobody", "--state", str(tmp_path)]
    assert main(command) == 2
    assert "no account 'nobody'" in capsys.readouterr().err
    assert main([*command[:4], *command[5:]]) == 0
    assert "no operator is left" in capsys.readouterr().err
    assert main(["fleet", "user", "list", "--state", str(tmp_path)]) == 0
    assert "nobody may log in" in capsys.readouterr().out


def test_who_is_removed_while_the_password_is_checked_does_not_get_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_to_fit(_password: str, _secret: str) -> bool:
        database = Database(tmp_path).open()
        Accounts(database).remove("viewer")
        database.close()
        return True

    monkeypatch.setattr("fleet.web.application.fits", slow_to_fit)
    fill(tmp_path, Filling(devices=1, reports=1))
    with page_of(tmp_path) as port:
        visitor = Client(port)
        assert visitor.log_in("viewer").status == 401
        assert visitor.cookies == {}


def test_the_command_sets_a_password_that_opens_the_page(
    state: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "password", "--state", str(state), "--role", "viewer", "--name", "hall"]) == 0
    password = capsys.readouterr().out.rpartition(" ")[2].strip()
    assert Client(port).log_in("hall", password).status == 303
    database = Database(state).open()
    assert password not in Accounts(database).find("hall").secret
    database.close()
    assert main(["fleet", "audit", "--state", str(state), "--last", "2"]) == 0
    told = capsys.readouterr().out
    assert "set password" in told
    assert "log in" in told
