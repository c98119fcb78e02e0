"""Where alerts are kept and where they go: a real database, a real HTTP server, real TLS."""

from __future__ import annotations

import datetime as dt
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.adapters.alert_book import AlertBook
from fleet.adapters.alert_webhook import AlertWebhook, WebhookSettings, check_url, read_secret
from fleet.adapters.database import Database
from fleet.alert_messages import MAX_FINDINGS, SIGNATURE, retained, signature
from fleet.alerts import Alert, Change, Finding
from tests.support.webhook import Hook
from wire.deadline import Deadline, wait_until
from wire.errors import SettingsError

SECRET = b"sixteen bytes or more"


def silent(*devices: str) -> list[Finding]:
    return [Finding("device-silent", device, "no word") for device in devices]


def change(key: str = "device-silent", what: str = "raised", devices: int = 1) -> Change:
    findings = tuple(silent(*(f"pi-{i}" for i in range(devices))))
    return Change(what, Alert(key, key, "warning", "no word", 100.0, findings))  # type: ignore[arg-type]


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture
def webhook(hook: Hook) -> Iterator[AlertWebhook]:
    webhook = AlertWebhook(WebhookSettings(hook.url, SECRET), fleet="plant", first_pause_s=0.01).start()
    yield webhook
    webhook.close()


def book(state: Path) -> tuple[Database, AlertBook]:
    database = Database(state).open()
    return database, AlertBook(database)


def test_alerts_survive_a_restart_and_what_was_pending_begins_anew(tmp_path: Path) -> None:
    database, first = book(tmp_path)
    for at_s in (0.0, 60.0):
        first.look(silent("pi-1"), at_s)
    first.look(silent("pi-1", "pi-2"), 90.0)
    assert [a.subjects for a in first.standing().values()] == [("pi-1",)]
    database.close()

    database, second = book(tmp_path)
    second.forget_pending()
    second.look(silent("pi-1", "pi-2"), 9000.0)
    assert [a.subjects for a in second.standing().values()] == [("pi-1",)]
    second.look(silent("pi-1", "pi-2"), 9060.0)
    alert = second.standing()["device-silent"]
    assert (alert.subjects, alert.raised_s) == (("pi-1", "pi-2"), 60.0)
    database.close()


def test_a_person_acknowledges_from_another_connection(tmp_path: Path) -> None:
    database, server = book(tmp_path)
    for at_s in (0.0, 60.0):
        server.look(silent("pi-1"), at_s)
    other, command = book(tmp_path)
    assert command.acknowledge("device-silent", "ada", 70.0)
    assert not command.acknowledge("device-frozen", "ada", 70.0)
    server.look(silent("pi-1"), 90.0)
    assert server.standing()["device-silent"].acknowledged_by == "ada"
    other.close()
    database.close()


def test_a_row_of_another_version_is_passed_over(tmp_path: Path) -> None:
    database, alerts = book(tmp_path)
    database.sql.execute("insert into alert values ('device-silent', 'pi-9', x'7b7d')")
    alerts.look([], 1.0)
    assert alerts.standing() == {}
    database.close()


def test_a_change_is_posted_with_a_signature_that_can_be_checked(hook: Hook, webhook: AlertWebhook) -> None:
    webhook.told(change())
    assert wait_until(lambda: webhook.delivered == 1, Deadline.after(20))
    (body,) = hook.posts
    assert (body["what"], body["fleet"], body["alert"]["key"]) == ("raised", "plant", "device-silent")
    stamp, _ = hook.headers[0][SIGNATURE].removeprefix("t=").split(",")
    assert signature(hook.bodies[0], SECRET, float(stamp)) == hook.headers[0][SIGNATURE]
    assert abs(time.time() - float(stamp)) < 600


def test_what_may_pass_is_tried_again_and_a_refusal_is_counted(hook: Hook, webhook: AlertWebhook) -> None:
    hook.statuses += [503, 429, 200, 302]
    webhook.told(change())
    assert wait_until(lambda: webhook.delivered == 1, Deadline.after(20))
    webhook.told(change(what="cleared"))
    assert wait_until(lambda: webhook.dropped == 1, Deadline.after(20))
    assert [post["what"] for post in hook.posts] == ["raised"] * 3 + ["cleared"]


def test_an_alert_that_the_receiver_chokes_on_holds_up_no_other(hook: Hook, webhook: AlertWebhook) -> None:
    hook.chokes_on = "drift/m/1"
    webhook.told(change("drift/m/1"))
    assert wait_until(lambda: len(hook.posts) > 1, Deadline.after(20))
    webhook.told(change("errors/m/1"))
    assert wait_until(lambda: webhook.delivered == 1, Deadline.after(20))


def test_while_nobody_answers_only_the_newest_of_each_alert_waits_and_telling_never_does() -> None:
    webhook = AlertWebhook(WebhookSettings("http://127.0.0.1:9/in"), first_pause_s=1000.0).start()
    began = time.monotonic()
    for i in range(5000):
        webhook.told(change(f"drift/m/{i % 1100}"))
    assert time.monotonic() - began < 60  # no request's time-out is in there
    assert len(webhook._waiting) == 1000
    assert webhook.dropped > 0
    webhook.close()


def test_a_certificate_that_nobody_vouches_for_is_no_answer(hook: Hook, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    hook.server.socket = context.wrap_socket(hook.server.socket, server_side=True)
    webhook = AlertWebhook(WebhookSettings(hook.url.replace("http", "https")), first_pause_s=0.01)
    assert not webhook._deliver(change())
    assert (webhook.delivered, webhook.dropped, hook.posts) == (0, 0, [])


def self_signed(folder: Path) -> tuple[Path, Path]:
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    (folder / "crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "crt", folder / "key"


def test_an_alert_of_ten_thousand_devices_fits_a_message() -> None:
    said = json.loads(retained(change(devices=10_000).alert))
    assert (said["count"], len(said["findings"])) == (10_000, MAX_FINDINGS)
    assert len(retained(change(devices=10_000).alert)) < 64 * 1024


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "http://", "http://x:0/", "http://x/a b", "nonsense", "http://x:y/", "http://x@y/"]
)
def test_an_address_that_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        check_url(url)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as refusal:
        check_url("https://user:hunter2@ops.example/hook")
    assert "hunter2" not in str(refusal.value)


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc\n")
    for name in ("short", "none"):
        with pytest.raises(SettingsError):
            read_secret(tmp_path / name)
    (tmp_path / "long").write_bytes(SECRET + b"\n")
    assert read_secret(tmp_path / "long") == SECRET
