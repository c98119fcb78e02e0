"""The server's part at the broker's gate: answers requests for certificates, and keeps the brokers' lists.

Turns of the server's loop call it; it waits for nobody but a broker that is started anew. An answer is
not retained: who missed it asks again with the same key, and gets the same certificate.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from fleet.adapters.certificate_store import CertificateStore
from fleet.ingest import Decode
from wire.codec import encode
from wire.deadline import Deadline
from wire.enrolment import CertificateAnswer, CertificateRequest
from wire.errors import MessageError
from wire.link import Incoming, Link, LinkDown
from wire.topics import ClaimTopic, DeviceTopic, Topics

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5
_BATCH: Final = 100
_MAX_ANSWERS: Final = 10_000


class Lists(Protocol):
    """The brokers' lists of whom to let in."""

    @property
    def revoked(self) -> Sequence[str]:
        """The certificates that are refused now."""

    def write_revoked(self, serials: Sequence[str]) -> None:
        """Refuse these certificates from now on, and end their connections."""

    def write_logins(self, lines: Sequence[str]) -> None:
        """Let these claims in, and no others."""


@dataclass(frozen=True)
class GateParts:
    store: CertificateStore
    lists: Lists
    #: To the broker for enrolment; None where there is none.
    claims: Link | None
    topics: Topics
    decode: Decode
    now: Callable[[], dt.datetime]


class Gate:
    """See the module. All of it belongs to the server's loop."""

    def __init__(self, parts: GateParts) -> None:
        self._parts = parts
        self._answers: dict[str, bytes] = {}
        self._look = Deadline.after(0)
        self._logins: list[str] | None = None
        self._told = ""

    @property
    def filters(self) -> list[str]:
        """What to subscribe to on the fleet's broker."""
        return [self._parts.topics.every_device("csr")]

    def open(self) -> Gate:
        if self._parts.claims:
            self._parts.claims.subscribe([self._parts.topics.claim("+", "csr")])
            self._parts.claims.start()
        return self

    def close(self) -> None:
        if self._parts.claims:
            self._parts.claims.close()

    def turn(self, link: Link, refuse: Callable[[MessageError], None]) -> None:
        """Take claims, send what is due, and bring the brokers' lists up to date."""
        if self._parts.claims:
            self._take_claims(self._parts.claims, refuse)
        self._send(link)
        if self._look.passed:
            self._look = Deadline.after(_LOOK_EVERY_S)
            self._keep_lists()

    def takes(self, message: Incoming) -> bool:
        """Answer `message` if it is a request for a certificate; raise MessageError for a refused one."""
        topics = self._parts.topics
        address = topics.parse(message.topic)
        match address:
            case ClaimTopic(claim, "csr"):
                answer_to = topics.claim(claim, "crt")
            case DeviceTopic(device, "csr"):
                answer_to = topics.device(device, "crt")
            case _:
                return False
        if message.retained or not message.payload:
            raise MessageError("certificate request", "retained or empty: ours are neither")
        try:
            request = self._parts.decode(CertificateRequest, message.payload)
            answer = CertificateAnswer(certificate=self._certify(address, request))
        except MessageError as error:
            self._answer(answer_to, CertificateAnswer(error=error.reason[:500]))
            raise
        self._answer(answer_to, answer)
        return True

    def _certify(self, address: ClaimTopic | DeviceTopic, request: CertificateRequest) -> str:
        now_s = self._parts.now().timestamp()
        if isinstance(address, ClaimTopic):
            made = self._parts.store.enroll(address.address, request, now_s)
            log.info("%s is enrolled until %s", made.device, _date(made.expires_s))
        else:
            made = self._parts.store.renew(address.device, request, now_s)
            log.info("%s has a certificate until %s", made.device, _date(made.expires_s))
        return made.pem

    def _answer(self, topic: str, answer: CertificateAnswer) -> None:
        if len(self._answers) < _MAX_ANSWERS:
            self._answers[topic] = encode(answer)

    def _send(self, link: Link) -> None:
        for topic, payload in list(self._answers.items()):
            by = self._parts.claims if isinstance(self._parts.topics.parse(topic), ClaimTopic) else link
            if by is None or by.publish(topic, payload):
                del self._answers[topic]

    def _take_claims(self, claims: Link, refuse: Callable[[MessageError], None]) -> None:
        for _ in range(_BATCH):
            match claims.receive(0):
                case None:
                    return
                case Incoming() as message:
                    try:
                        self.takes(message)
                    except MessageError as error:
                        refuse(error)
                case LinkDown(reason) if reason != self._told:
                    self._told = reason
                    log.debug("enrolment: %s; trying again", reason)

    def _keep_lists(self) -> None:
        store, lists, now_s = self._parts.store, self._parts.lists, self._parts.now().timestamp()
        revoked, logins = store.revoked(now_s), store.logins(now_s)
        if not set(revoked) <= set(lists.revoked):  # that one has expired needs no restart
            lists.write_revoked(revoked)
        if logins != self._logins:
            lists.write_logins(logins)
            self._logins = logins
            if self._parts.claims:  # at once: strangers may take the places of a broker that was started anew
                self._parts.claims.reconnect()


def _date(unix_s: float) -> str:
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
