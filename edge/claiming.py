"""Enrolment on the device: a claim token becomes a certificate, over the broker's claim listener.

The key is made here and stays here. The request is proved with the token and sent again until an answer
comes; the server answers the same key with the same certificate, so neither end need remember anything.
"""

from __future__ import annotations

import logging
import threading
from typing import Final, Protocol

from wire.codec import decode, encode
from wire.deadline import Clock, Deadline
from wire.enrolment import CertificateAnswer, CertificateRequest, Claim, prove
from wire.errors import MessageError
from wire.link import Incoming, Link, LinkDown, LinkUp
from wire.topics import Topics

log = logging.getLogger(__name__)

_TURN_S: Final = 0.2
_ASK_AGAIN_S: Final = 10.0
_REST_S: Final = 60.0


class NewIdentity(Protocol):
    """Where the key is made and the certificate kept."""

    def request(self) -> str: ...

    def adopt(self, certificate: str, *, keep_previous: bool) -> None: ...


class Claiming:
    """One claim; `run` is the body of a thread, which owns the link."""

    def __init__(self, link: Link, topics: Topics, claim: Claim, identity: NewIdentity, clock: Clock) -> None:
        self._link = link
        self._claim = claim
        self._identity = identity
        self._clock = clock
        self._ask = topics.claim(claim.address, "csr")
        self._hear = topics.claim(claim.address, "crt")
        self._up = False
        self._last_down = ""
        self._told = ""
        self._next = Deadline.after(0, clock)

    def run(self, stop: threading.Event) -> bool:
        """Claim until there is a certificate (True) or `stop` (False)."""
        self._link.subscribe([self._hear])
        self._link.start()
        try:
            while not stop.is_set():
                if self._turn():
                    return True
            return False
        finally:
            self._link.close()

    def _turn(self) -> bool:
        match self._link.receive(_TURN_S):
            case LinkUp():
                self._up, self._last_down = True, ""
                self._next = Deadline.after(0, self._clock)
            case LinkDown(reason):
                self._up = False
                if reason != self._last_down:
                    log.warning("no enrolment yet: %s; trying again", reason)
                self._last_down = reason
            case Incoming(topic, payload) if topic == self._hear:
                return self._take(payload)
        if self._up and self._next.passed:
            self._send()
        return False

    def _send(self) -> None:
        self._next = Deadline.after(_ASK_AGAIN_S, self._clock)
        try:
            csr = self._identity.request()
        except OSError as error:  # a full or read-only disk ends neither the thread nor the claim
            self._rest(error)
            return
        self._link.publish(self._ask, encode(CertificateRequest(csr, prove(self._claim.proof_key, csr))))

    def _take(self, payload: bytes) -> bool:
        try:
            answer = decode(CertificateAnswer, payload)
            if answer.error:
                raise MessageError("enrolment", f"refused by the server: {answer.error}")
            self._identity.adopt(answer.certificate, keep_previous=False)
        except (MessageError, OSError) as error:
            self._rest(error)
            return False
        log.info("enrolled: the certificate is here")
        return True

    def _rest(self, error: MessageError | OSError) -> None:
        # The whole text of an error of the disk names a file that is another one each time.
        told = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if told != self._told:
            log.warning("no enrolment yet: %s; trying again", error)
        self._told = told
        self._next = Deadline.after(_REST_S, self._clock)
