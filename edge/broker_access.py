"""From settings to the broker: address, TLS files, the certificate's renewal, and a first claim. Wiring.

cryptography is imported only where a CA is named: a device on a plain broker does without it.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge.claiming import Claiming
from edge.renewal import Renewal
from edge.settings import AgentSettings
from wire.adapters.paho_link import BrokerAddress, Login, PahoLink
from wire.adapters.tls import TlsFiles, load, make_context
from wire.deadline import Deadline
from wire.enrolment import Claim
from wire.errors import SettingsError, UnavailableError
from wire.link import LinkDown, LinkUp
from wire.topics import Topics

if TYPE_CHECKING:
    from edge.adapters.identity import IdentityFile

log = logging.getLogger(__name__)

_IDENTITY: Final = "identity.pem"


def broker_address(settings: AgentSettings) -> BrokerAddress:
    """Return where the broker is, with the TLS files if a CA is named."""
    broker = settings.broker
    if not broker.ca:
        return BrokerAddress(broker.host, broker.port)
    path = _certificate(settings)
    # A broker may do without certificates of its clients: one that nobody named may be missing.
    wanted = broker.certificate or broker.claim or path.exists()
    key = Path(broker.key) if broker.key else None
    tls = TlsFiles(Path(broker.ca), path if wanted else None, key)
    return BrokerAddress(broker.host, broker.port, tls)


def make_renewal(settings: AgentSettings) -> Renewal | None:
    """Return what renews the certificate, where there is one or will be."""
    tls = broker_address(settings).tls
    if tls is None or tls.certificate is None:
        return None
    topic = Topics(settings.broker.prefix).device(settings.device.name, "csr")
    return Renewal(_identity(settings), topic, time.monotonic, time.time)


def read_claim(settings: AgentSettings) -> Claim:
    """Return the claim of the settings; raise SettingsError for a token that cannot be read."""
    path = Path(settings.broker.claim)
    try:
        return Claim.of(path.read_text(encoding="ascii").strip(), settings.device.name)
    except OSError as error:
        raise SettingsError(f"broker.claim: {path}: {error.strerror}") from error
    except ValueError as error:  # not ASCII among them
        raise SettingsError(f"broker.claim: {path}: {error}") from error


def needs_claim(settings: AgentSettings) -> bool:
    """Return whether there is a claim to be made: no certificate yet, or one that has expired."""
    if not settings.broker.claim:
        return False
    life = _identity(settings).life()
    return life is None or life.expires_s <= time.time()


class Enrolment:
    """The thread that claims a certificate, where one is needed, beside everything else.

    No certificate is no network, a normal state: what goes wrong here is logged and ends nothing.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        try:
            if not needs_claim(self._settings):
                return
            claiming = self._claiming()
        except SettingsError as error:
            log.warning("%s; inference goes on without a certificate", error)
            return
        self._thread = threading.Thread(target=claiming.run, args=(self._stop,), name="enrol")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _claiming(self) -> Claiming:
        broker, claim = self._settings.broker, read_claim(self._settings)
        address = BrokerAddress(broker.host, broker.claim_port, TlsFiles(Path(broker.ca)))
        link = PahoLink(address, claim.address, login=Login(claim.address, claim.password))
        identity = _identity(self._settings)
        return Claiming(link, Topics(broker.prefix), claim, identity, time.monotonic)


def check_tls(settings: AgentSettings, seconds: float) -> None:
    """Prove that the broker takes our TLS files, where there are some.

    Raises SettingsError for files that cannot be used, UnavailableError when the broker refuses.
    """
    address = broker_address(settings)
    if address.tls is None:
        return
    if needs_claim(settings):
        read_claim(settings)
        load(make_context(), TlsFiles(address.tls.ca))
        return
    load(make_context(), address.tls)
    life = _identity(settings).life() if address.tls.certificate else None
    if life is not None and life.expires_s <= time.time():
        raise SettingsError(f"certificate {address.tls.certificate}: it has expired, enroll the device again")
    link = PahoLink(address, settings.device.name)
    link.start()
    try:
        deadline = Deadline.after(seconds)
        while not deadline.passed:
            match link.receive(deadline.left_s):
                case LinkUp():
                    return
                case LinkDown(reason):
                    raise UnavailableError(reason)
        raise UnavailableError(f"no answer from the broker at {address}")
    finally:
        link.close()


def _certificate(settings: AgentSettings) -> Path:
    return Path(settings.broker.certificate or Path(settings.device.state) / _IDENTITY)


def _identity(settings: AgentSettings) -> IdentityFile:
    try:
        from edge.adapters.identity import IdentityFile
    except ImportError as error:
        raise SettingsError(
            f"a certificate needs {error.name}: pip install cryptography, or apt install python3-cryptography"
        ) from error
    key = Path(settings.broker.key) if settings.broker.key else None
    return IdentityFile(_certificate(settings), settings.device.name, key)
