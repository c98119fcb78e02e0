"""The device's key and certificate: whole after any crash, renewed in time, and the old one if need be."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest

from edge.adapters.identity import IdentityFile, Life
from edge.claiming import Claiming
from edge.renewal import Renewal, is_due
from fleet.adapters import pki
from wire.adapters.tls import TlsFiles, load, make_context
from wire.codec import decode, encode
from wire.enrolment import CertificateAnswer, CertificateRequest, Claim
from wire.errors import MessageError, SettingsError
from wire.memory_link import MemoryBroker
from wire.topics import Topics

TOPIC = Topics().device("pi-1", "csr")
NOW = dt.datetime.now(dt.UTC)
AUTHORITY = pki.Authority.make("devices", NOW)


def certify(csr: str, device: str = "pi-1", life: dt.timedelta = dt.timedelta(days=90)) -> str:
    return AUTHORITY.client(device, pki.read_request(csr, "pi-1"), NOW, life).pem


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    return tmp_path / "identity.pem"


@pytest.fixture
def identity(path: Path) -> IdentityFile:
    """One that is enrolled."""
    identity = IdentityFile(path, "pi-1")
    identity.adopt(certify(identity.request()), keep_previous=False)
    return identity


def whole(path: Path) -> bool:
    """Return whether OpenSSL takes the file: key and certificate belong together."""
    try:
        load(make_context(), TlsFiles(path.with_name("ca.pem"), path))
    except SettingsError:
        return False
    return True


def test_a_first_certificate_comes_into_use_with_its_key(identity: IdentityFile, path: Path) -> None:
    assert whole(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.glob("identity*")] == ["identity.pem"]
    assert not identity.on_trial


def test_the_life_begins_a_year_after_the_certificate_says(identity: IdentityFile) -> None:
    life = identity.life()
    assert life is not None
    assert life.issued_s == pytest.approx(NOW.timestamp(), abs=2)
    assert life.expires_s - life.issued_s == pytest.approx(90 * 86_400, abs=2)


def test_the_same_key_is_asked_for_until_there_is_an_answer(identity: IdentityFile, path: Path) -> None:
    first = identity.request()
    assert stat.S_IMODE(path.with_name("identity.pem.next").stat().st_mode) == 0o600
    again = IdentityFile(path, "pi-1").request()
    assert pki.read_request(first, "pi-1") == pki.read_request(again, "pi-1")


@pytest.mark.parametrize("kind", ["another key", "another name", "garbage", "empty", "unasked"])
def test_a_certificate_that_is_not_for_us_changes_nothing(
    identity: IdentityFile, path: Path, kind: str
) -> None:
    before = path.read_bytes()
    csr = identity.request()
    if kind == "unasked":
        path.with_name("identity.pem.next").unlink()
    other = AUTHORITY.client("pi-1", pki.make_key().public_key(), NOW, dt.timedelta(days=1)).pem
    answers = {"another key": other, "another name": certify(csr, "pi-2"), "garbage": "x", "empty": ""}
    with pytest.raises(MessageError):
        identity.adopt(answers.get(kind) or certify(csr) if kind == "unasked" else answers[kind])
    assert path.read_bytes() == before
    assert not identity.on_trial


def test_at_every_crash_point_of_a_renewal_there_is_a_whole_pair(
    identity: IdentityFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail each rename and removal in turn; what is on the disk then must work, and a retry succeed."""
    real_replace, real_unlink = Path.replace, Path.unlink
    for failing in range(8):
        calls = 0

        def count(failing: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls - 1 == failing:
                raise OSError("power cut")

        def replace(self: Path, target: Path) -> Path:
            count()
            return real_replace(self, target)

        def unlink(self: Path, missing_ok: bool = False) -> None:
            if self.suffix != ".tmp":  # what tidies up after the failure
                count()
            real_unlink(self, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            patch.setattr(Path, "unlink", unlink)
            try:
                identity.adopt(certify(identity.request()))
                identity.confirm()
            except OSError:
                pass
        assert whole(path)
        fresh = IdentityFile(path, "pi-1")  # as after a restart
        fresh.adopt(certify(fresh.request()))
        assert whole(path)
        fresh.confirm()


def test_a_key_that_came_into_use_before_a_crash_is_not_asked_for_again(
    identity: IdentityFile, path: Path
) -> None:
    csr = identity.request()
    leftover = path.with_name("identity.pem.next").read_bytes()
    identity.adopt(certify(csr))
    path.with_name("identity.pem.next").write_bytes(leftover)
    assert pki.read_request(identity.request(), "pi-1") != pki.read_request(csr, "pi-1")


def test_a_key_file_of_earlier_times_comes_back_with_its_certificate(tmp_path: Path) -> None:
    key = pki.make_key()
    made = AUTHORITY.client("pi-1", key.public_key(), NOW, dt.timedelta(days=90))
    path, key_path = tmp_path / "device.crt", tmp_path / "device.key"
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    path.write_text(made.pem)
    key_path.write_bytes(pki.key_pem(key))
    identity = IdentityFile(path, "pi-1", key_path)
    identity.adopt(certify(identity.request()))
    load(make_context(), TlsFiles(tmp_path / "ca.pem", path, key_path))  # the key in the file wins
    identity.fall_back()
    assert made.pem in path.read_text()
    load(make_context(), TlsFiles(tmp_path / "ca.pem", path, key_path))


# --- when ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "due"), [(0, False), (59, False), (61, True), (89, True), (1000, True), (-9000, False)]
)
def test_a_certificate_is_due_at_two_thirds_of_its_life(day: float, due: bool) -> None:
    assert is_due(Life(0.0, 90 * 86_400.0), day * 86_400.0) is due


class Device:
    """A renewal with a clock to turn."""

    def __init__(self, identity: IdentityFile) -> None:
        self.identity, self.now_s, self.broker = identity, 0.0, MemoryBroker()
        self.link = self.broker.link()
        self.link.start()
        self.renewal = Renewal(identity, TOPIC, lambda: self.now_s, lambda: NOW.timestamp() + self.now_s)

    def at(self, day: float) -> list[bytes]:
        """Turn the clock, and return what was asked then."""
        self.now_s = day * 86_400
        before = len(self.broker.published)
        self.renewal.tick(self.link)
        return [payload for _, payload in self.broker.published[before:]]

    def answer(self, asked: bytes) -> None:
        csr = decode(CertificateRequest, asked).csr
        self.renewal.receive(encode(CertificateAnswer(certify(csr))), self.link)


def test_nothing_is_asked_before_it_is_due_and_then_again_and_again(identity: IdentityFile) -> None:
    device = Device(identity)
    assert device.at(59) == []
    (asked,) = device.at(61)
    assert device.at(61.0001) == []
    (again,) = device.at(61.001)
    keys = {
        pki.read_request(decode(CertificateRequest, a).csr, "pi-1").public_numbers() for a in (asked, again)
    }
    assert len(keys) == 1


def test_a_new_certificate_is_on_trial_until_the_broker_takes_it(identity: IdentityFile, path: Path) -> None:
    device, before = Device(identity), path.read_bytes()
    device.answer(device.at(61)[0])
    assert identity.on_trial
    assert path.read_bytes() != before
    device.renewal.link_down(refused=False)
    device.renewal.link_up()
    assert not identity.on_trial
    assert whole(path)


def test_a_new_certificate_that_is_refused_gives_way_to_the_old_one(
    identity: IdentityFile, path: Path
) -> None:
    device, before = Device(identity), path.read_bytes()
    device.answer(device.at(61)[0])
    for _ in range(2):
        device.renewal.link_down(refused=True)
    device.renewal.link_down(refused=False)  # a broker that is away says nothing about a certificate
    assert path.read_bytes() != before
    device.renewal.link_down(refused=True)
    assert path.read_bytes() == before
    device.renewal.link_up()
    assert device.at(61.01) == [], "it rests for an hour"
    assert len(device.at(61.1)) == 1


def test_a_refusal_of_the_server_is_told_and_rested_upon(identity: IdentityFile) -> None:
    device = Device(identity)
    device.at(61)
    with pytest.raises(MessageError, match="revoked"):
        device.renewal.receive(encode(CertificateAnswer(error="revoked")), device.link)
    assert device.at(61.01) == []
    assert len(device.at(61.1)) == 1


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"\xff", encode(CertificateAnswer(certificate="x")), b'{"certificate":"a","error":"b"}'],
)
def test_a_bad_answer_changes_nothing(identity: IdentityFile, path: Path, payload: bytes) -> None:
    device, before = Device(identity), path.read_bytes()
    device.at(61)
    with pytest.raises(MessageError):
        device.renewal.receive(payload, device.link)
    assert path.read_bytes() == before


# --- a disk that takes nothing --------------------------------------------------------------------


def test_a_key_that_cannot_be_written_is_told_once_and_tried_again(
    identity: IdentityFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device, obstacle = Device(identity), path.with_name("identity.pem.next")
    obstacle.mkdir()  # stops root, too
    assert device.at(61) == []
    assert device.at(61.01) == []
    assert device.at(61.1) == []
    assert caplog.text.count("cannot be renewed") == 1
    obstacle.rmdir()
    assert len(device.at(61.2)) == 1


def test_a_certificate_that_cannot_be_written_leaves_the_old_one(identity: IdentityFile, path: Path) -> None:
    device, before = Device(identity), path.read_bytes()
    asked = device.at(61)[0]
    path.with_name("identity.pem.previous").mkdir()
    path.unlink()
    path.mkdir()
    device.answer(asked)
    device.renewal.link_down(refused=True)
    device.renewal.link_up()
    path.rmdir()
    path.with_name("identity.pem.previous").rmdir()
    path.write_bytes(before)
    device.answer(device.at(61.1)[0])
    device.renewal.link_up()
    assert not identity.on_trial
    assert whole(path)
    assert path.read_bytes() != before


def test_a_proof_that_cannot_be_noted_is_noted_later(
    identity: IdentityFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(identity)
    device.answer(device.at(61)[0])
    with monkeypatch.context() as patch:
        patch.setattr(IdentityFile, "confirm", read_only)
        device.renewal.link_up()
        device.at(61.1)
    assert identity.on_trial
    device.at(61.2)
    assert not identity.on_trial


def test_a_way_back_that_is_barred_is_tried_again(
    identity: IdentityFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, before = Device(identity), path.read_bytes()
    device.answer(device.at(61)[0])
    with monkeypatch.context() as patch:
        patch.setattr(IdentityFile, "fall_back", read_only)
        for _ in range(4):
            device.renewal.link_down(refused=True)
    assert path.read_bytes() != before
    for _ in range(2):
        device.renewal.link_down(refused=True)
    assert path.read_bytes() == before


def read_only(_: IdentityFile) -> None:
    raise OSError("read-only file system")


def test_a_claim_outlives_a_disk_that_takes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    claim, broker, obstacle = (
        Claim.of("a-claim-token-of-the-tests", "pi-1"),
        MemoryBroker(),
        path.with_name("identity.pem.next"),
    )
    link, now_s = broker.link(), 0.0
    claiming = Claiming(link, Topics(), claim, IdentityFile(path, "pi-1"), lambda: now_s)
    link.subscribe([Topics().claim(claim.address, "crt")])
    link.start()
    obstacle.mkdir()
    assert not claiming._turn()
    now_s += 61
    assert not claiming._turn()
    assert broker.published == []
    obstacle.rmdir()
    now_s += 61
    claiming._turn()
    (_, asked) = broker.published[-1]
    answer = encode(CertificateAnswer(certify(decode(CertificateRequest, asked).csr)))
    path.mkdir()
    broker.route(Topics().claim(claim.address, "crt"), answer, retain=False)
    assert not claiming._turn()
    path.rmdir()
    broker.route(Topics().claim(claim.address, "crt"), answer, retain=False)
    assert claiming._turn()
    assert whole(path)
    assert caplog.text.count("no enrolment yet") == 1  # of one kind, whichever file
