"""The server's gate over brokers in memory, with real keys: whom it certifies, and what it refuses."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.adapters import pki
from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode
from fleet.adapters.signing_desk import make_token, open_store
from fleet.enrolment import MAX_CERTIFICATES
from fleet.gate import Gate, GateParts
from tests.support.requests import make_key, request
from wire.codec import encode
from wire.enrolment import CertificateAnswer, CertificateRequest, Claim, prove
from wire.errors import MessageError
from wire.link import Incoming, LinkDown, LinkUp
from wire.memory_link import MemoryBroker
from wire.topics import Topics

TOPICS = Topics()
DAY_S = 86_400.0


class FakeLists:
    """Lists that only remember."""

    def __init__(self) -> None:
        self.revoked: Sequence[str] = []
        self.logins: Sequence[str] = []
        self.restarts = 0

    def write_revoked(self, serials: Sequence[str]) -> None:
        self.revoked = serials
        self.restarts += 1

    def write_logins(self, lines: Sequence[str]) -> None:
        self.logins = lines


class Door:
    """A gate, the brokers on both of its sides, and a clock to turn."""

    def __init__(self, state: Path) -> None:
        self.authority = pki.Authority.make("devices", dt.datetime.now(dt.UTC))
        self.database = Database(state).open()
        self.store = open_store(self.database, self.authority, dt.timedelta(days=90))
        self.lists, self.main, self.claims = FakeLists(), MemoryBroker(), MemoryBroker()
        self.later = dt.timedelta()
        self.refused: list[MessageError] = []
        self.link = self.main.link()
        self.link.start()
        parts = GateParts(self.store, self.lists, self.claims.link(), TOPICS, decode, self.now)
        self.gate = Gate(parts).open()

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.later

    def turn(self) -> None:
        self.gate.turn(self.link, self.refused.append)
        self.gate.turn(self.link, self.refused.append)

    def look(self) -> None:
        self.gate._keep_lists()  # time is not waited for

    def token(self, device: str = "pi-1", *, days: float = 7) -> Claim:
        claim = Claim.of(make_token(), device)
        self.store.add_claim(claim, device, f"login of {device}", self.now().timestamp() + days * DAY_S)
        return claim

    def claim(self, claim: Claim, csr: str, proof: str | None = None) -> CertificateAnswer:
        proof = prove(claim.proof_key, csr) if proof is None else proof
        return self.send_claim(claim.address, encode(CertificateRequest(csr, proof)))

    def send_claim(self, address: str, payload: bytes) -> CertificateAnswer:
        self.claims.route(TOPICS.claim(address, "csr"), payload, retain=False)
        self.turn()
        topic, answer = self.claims.published[-1]
        assert topic == TOPICS.claim(address, "crt")
        return decode(CertificateAnswer, answer)

    def renew(self, csr: str, device: str = "pi-1") -> CertificateAnswer:
        message = Incoming(TOPICS.device(device, "csr"), encode(CertificateRequest(csr)))
        try:
            assert self.gate.takes(message)
        except MessageError as error:
            self.refused.append(error)
        self.turn()
        topic, answer = self.main.published[-1]
        assert topic == TOPICS.device(device, "crt")
        return decode(CertificateAnswer, answer)

    def certificates(self) -> int:
        (count,) = self.database.sql.execute("select count(*) from certificate").fetchone()
        return int(count)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path / "fleet")
    yield door
    door.database.close()


def test_a_claim_becomes_a_certificate_of_its_device_and_key(door: Door) -> None:
    key = make_key()
    answer = door.claim(door.token(), request(["pi-1"], key))
    made = x509.load_pem_x509_certificate(answer.certificate.encode())
    made.verify_directly_issued_by(door.authority.certificate)
    assert made.public_key() == key.public_key()
    assert made.subject.rfc4514_string() == "CN=pi-1"
    life = made.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=89) < life < dt.timedelta(days=90, minutes=1)
    assert dt.datetime.now(dt.UTC) - made.not_valid_before_utc > dt.timedelta(days=364)


def test_an_answer_that_was_lost_is_given_again(door: Door) -> None:
    claim, key = door.token(), make_key()
    first = door.claim(claim, request(["pi-1"], key))
    door.later = dt.timedelta(days=30)  # the claim has expired, and was used in time
    assert door.claim(claim, request(["pi-1"], key)) == first
    assert door.certificates() == 1


def test_a_token_is_used_once(door: Door) -> None:
    claim = door.token()
    door.claim(claim, request(["pi-1"]))
    assert "used by another key" in door.claim(claim, request(["pi-1"])).error
    assert door.certificates() == 1


def test_a_token_expires(door: Door) -> None:
    claim = door.token(days=7)
    door.later = dt.timedelta(days=7, seconds=1)
    assert "expired" in door.claim(claim, request(["pi-1"])).error


def test_an_expired_login_is_taken_off_the_list(door: Door) -> None:
    door.token()
    door.look()
    assert door.lists.logins == ["login of pi-1"]
    door.later = dt.timedelta(days=8)
    door.look()
    assert door.lists.logins == []


def test_the_server_is_back_at_once_at_a_broker_that_was_started_anew(door: Door) -> None:
    door.turn()
    claims = door.gate._parts.claims
    assert claims is not None
    while claims.receive(0) is not None:
        pass
    door.token()
    door.look()
    assert [claims.receive(0), claims.receive(0)] == [LinkDown("reconnecting"), LinkUp()]
    door.look()
    assert claims.receive(0) is None


def test_a_second_token_ends_the_first(door: Door) -> None:
    first, second = door.token(), door.token()
    assert "unknown claim" in door.claim(first, request(["pi-1"])).error
    assert door.claim(second, request(["pi-1"])).certificate


def test_who_knows_address_and_password_but_not_the_token_gets_nothing(door: Door) -> None:
    claim, csr = door.token(), request(["pi-1"])
    for proof in ("", "00" * 32, claim.password, claim.address, prove(claim.password.encode(), csr)):
        assert "not proved" in door.claim(claim, csr, proof).error
    assert door.claim(claim, csr).certificate, "a wrong proof uses nothing up"


def test_a_proof_is_of_one_request(door: Door) -> None:
    claim, csr = door.token(), request(["pi-1"])
    assert "not proved" in door.claim(claim, request(["pi-1"]), prove(claim.proof_key, csr)).error


def test_a_replayed_request_gives_the_same_certificate_and_no_other(door: Door) -> None:
    claim, csr = door.token(), request(["pi-1"])
    answers = {door.claim(claim, csr).certificate for _ in range(3)}
    assert len(answers) == 1
    assert door.certificates() == 1


HOSTILE = {
    "another name": lambda: request(["pi-2"]),
    "the server's name": lambda: request(["fleet-server"]),
    "two names": lambda: request(["pi-1", "fleet-server"]),
    "no name": lambda: request([]),
    "a name with a zero": lambda: request(["pi-1\x00x"]),
    "an RSA key": lambda: request(["pi-1"], rsa.generate_private_key(65537, 2048)),
    "another curve": lambda: request(["pi-1"], ec.generate_private_key(ec.SECP384R1())),
    "another kind of key": lambda: request(["pi-1"], ed25519.Ed25519PrivateKey.generate()),
    "a broken signature": lambda: spoiled(request(["pi-1"]), 60),
    "half of it": lambda: request(["pi-1"])[:200],
    "a certificate": lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "nothing": lambda: "",
    "words": lambda: "let me in",
    "half of an emoji's worth": lambda: (
        "-----BEGIN CERTIFICATE REQUEST-----\nü\n-----END CERTIFICATE REQUEST-----"
    ),
}


def spoiled(csr: str, from_end: int) -> str:
    """Return `csr` with one byte of its signature changed."""
    lines = csr.strip().splitlines()
    data = bytearray(base64.b64decode("".join(lines[1:-1])))
    data[-from_end // 3] ^= 1
    body = base64.b64encode(bytes(data)).decode()
    return f"{lines[0]}\n{body}\n{lines[-1]}\n"


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_request_is_refused_and_uses_nothing_up(door: Door, kind: str) -> None:
    claim = door.token()
    assert door.claim(claim, HOSTILE[kind]()).error
    assert len(door.refused) == 1
    assert door.claim(claim, request(["pi-1"])).certificate


@pytest.mark.parametrize(
    "payload", [b"{}", b"\xff\x00", b"[1,2", b"null", b'{"csr": 1}', b'{"csr": "' + b"x" * 20_000 + b'"}']
)
def test_a_message_that_is_no_request_is_refused(door: Door, payload: bytes) -> None:
    claim = door.token()
    assert door.send_claim(claim.address, payload).error
    assert door.claim(claim, request(["pi-1"])).certificate


@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_bytes_in_a_request_end_the_server(door: Door, changes: list[tuple[int, int]]) -> None:
    claim, csr = door.token("pi-9"), request(["pi-9"])
    body = bytearray(base64.b64decode("".join(csr.strip().splitlines()[1:-1])))
    for place, value in changes:
        body[place % len(body)] = value
    text = base64.b64encode(bytes(body)).decode()
    door.claim(claim, f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")


def test_a_request_that_asks_to_be_more_than_a_device_gets_a_device(door: Door) -> None:
    wishes = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        x509.SubjectAlternativeName([x509.DNSName("hub.local")]),
    )
    answer = door.claim(door.token(), request(["pi-1"], None, *wishes))
    made = x509.load_pem_x509_certificate(answer.certificate.encode()).extensions
    assert not made.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(made.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    with pytest.raises(x509.ExtensionNotFound):
        made.get_extension_for_class(x509.SubjectAlternativeName)


# --- renewal and revocation -------------------------------------------------------------------------


def test_a_device_renews_on_its_own_topic(door: Door) -> None:
    door.claim(door.token(), request(["pi-1"]))
    key = make_key()
    first = door.renew(request(["pi-1"], key))
    assert first.certificate
    assert door.renew(request(["pi-1"], key)) == first
    assert door.certificates() == 2


@pytest.mark.parametrize("name", ["pi-2", "fleet-server", "+"])
def test_a_device_renews_for_no_other(door: Door, name: str) -> None:
    door.claim(door.token(), request(["pi-1"]))
    assert "not for pi-1" in door.renew(request([name])).error


def test_a_device_that_was_never_enrolled_cannot_renew(door: Door) -> None:
    assert "no certificate" in door.renew(request(["pi-1"])).error


def test_an_expired_device_cannot_renew(door: Door) -> None:
    door.claim(door.token(), request(["pi-1"]))
    door.later = dt.timedelta(days=91)
    assert "enroll it again" in door.renew(request(["pi-1"])).error


def test_a_device_cannot_have_certificates_without_end(door: Door) -> None:
    door.claim(door.token(), request(["pi-1"]))
    answers = [door.renew(request(["pi-1"])) for _ in range(MAX_CERTIFICATES)]
    assert [bool(a.certificate) for a in answers] == [True] * (MAX_CERTIFICATES - 1) + [False]


def test_a_revoked_device_gets_nothing_more_and_is_on_the_list_once(door: Door) -> None:
    claim = door.token()
    door.claim(claim, request(["pi-1"]))
    door.renew(request(["pi-1"]))
    written: list[list[str]] = []
    assert door.store.revoke("pi-1", door.now().timestamp(), written.append) == 2
    assert "no certificate" in door.renew(request(["pi-1"])).error
    assert "unknown claim" in door.claim(claim, request(["pi-1"])).error
    door.look()
    door.look()
    assert sorted(door.lists.revoked) == written[0]
    assert len(written[0]) == 2
    assert door.lists.restarts == 1


def test_a_revocation_that_has_expired_restarts_nothing(door: Door) -> None:
    door.claim(door.token(), request(["pi-1"]))
    door.store.revoke("pi-1", door.now().timestamp(), lambda _: None)
    door.look()
    door.later = dt.timedelta(days=91)
    door.look()
    assert door.lists.restarts == 1


def test_a_list_that_cannot_be_written_revokes_nothing(door: Door) -> None:
    door.claim(door.token(), request(["pi-1"]))

    def full_disk(_: list[str]) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        door.store.revoke("pi-1", door.now().timestamp(), full_disk)
    assert door.store.revoked(door.now().timestamp()) == []


def test_a_revoked_device_may_be_enrolled_anew(door: Door) -> None:
    door.claim(door.token(), request(["pi-1"]))
    door.store.revoke("pi-1", door.now().timestamp(), lambda _: None)
    assert door.claim(door.token(), request(["pi-1"])).certificate


def test_a_retained_request_is_not_heeded(door: Door) -> None:
    door.claim(door.token(), request(["pi-1"]))
    message = Incoming(TOPICS.device("pi-1", "csr"), encode(CertificateRequest(request(["pi-1"]))), True)
    with pytest.raises(MessageError):
        door.gate.takes(message)
    assert door.certificates() == 1


def test_the_store_holds_no_token(door: Door) -> None:
    token = make_token()
    door.store.add_claim(Claim.of(token, "pi-1"), "pi-1", "login", door.now().timestamp() + DAY_S)
    dump = "\n".join(door.database.sql.iterdump())
    assert Claim.of(token, "pi-1").address in dump
    assert token not in dump
