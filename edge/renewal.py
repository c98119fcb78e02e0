"""A new certificate before the old one ends, over the connection that the old one gives.

Rules:
- at two thirds of its life a new key is made and a certificate asked for; the same key is asked for
  again until an answer comes, so a lost answer costs nothing;
- the new pair counts as proved when the broker has taken it; refused three times, the old one, which has
  a third of its life left, comes back, and the next try is an hour away;
- a disk that cannot be written to (full, read-only) ends nothing: it is told, and tried again an hour later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from wire.codec import decode, encode
from wire.deadline import Clock, Deadline
from wire.enrolment import CertificateAnswer, CertificateRequest
from wire.errors import MessageError
from wire.link import Link

log = logging.getLogger(__name__)

_ASK_AGAIN_S: Final = 30.0
_REST_S: Final = 3600.0
_LOOK_EVERY_S: Final = 1.0
_REFUSALS: Final = 3
_DUE: Final = 2 / 3


class CertificateLife(Protocol):
    @property
    def issued_s(self) -> float: ...

    @property
    def expires_s(self) -> float: ...


class Identity(Protocol):
    """Key and certificate on the disk; `edge.adapters.identity.IdentityFile` says more."""

    @property
    def on_trial(self) -> bool: ...

    def life(self) -> CertificateLife | None: ...

    def request(self) -> str: ...

    def adopt(self, certificate: str) -> None: ...

    def confirm(self) -> None: ...

    def fall_back(self) -> None: ...


def is_due(life: CertificateLife, now_s: float) -> bool:
    """Return whether a certificate is so old that the next one should be asked for."""
    return now_s >= life.issued_s + _DUE * (life.expires_s - life.issued_s)


class Renewal:
    """Called by the control thread; `topic` is the device's csr."""

    def __init__(self, identity: Identity, topic: str, clock: Clock, wall_clock: Callable[[], float]) -> None:
        self._identity = identity
        self._topic = topic
        self._clock = clock
        self._wall_clock = wall_clock
        self._look = Deadline.after(0, clock)
        self._refusals = 0
        self._proof_due = False
        self._told = ""

    def tick(self, link: Link) -> None:
        """Ask for a certificate when one is due."""
        if not self._look.passed:
            return
        self._wait(_LOOK_EVERY_S)
        with self._disk_may_fail():
            if self._proof_due:
                self._confirm()
            life = self._identity.life()
            if self._identity.on_trial or life is None or not is_due(life, self._wall_clock()):
                return
            if link.publish(self._topic, encode(CertificateRequest(self._identity.request()))):
                log.info("asked for a new certificate")
                self._wait(_ASK_AGAIN_S)

    def receive(self, payload: bytes, link: Link) -> None:
        """Take the server's answer; raise MessageError for one that cannot be used."""
        answer = decode(CertificateAnswer, payload)
        if answer.error:
            self._wait(_REST_S)
            raise MessageError("crt", f"the server gives no certificate: {answer.error}")
        self._refusals, self._proof_due = 0, False
        adopted = False
        with self._disk_may_fail():
            self._identity.adopt(answer.certificate)
            adopted = True
            log.info("has a new certificate; connecting with it")
        with self._disk_may_fail():  # whichever pair a failure left in use: a connection proves it
            if adopted or self._identity.on_trial:
                link.reconnect()

    def link_up(self) -> None:
        self._refusals = 0
        with self._disk_may_fail():
            self._proof_due = self._identity.on_trial
            if self._proof_due:
                self._confirm()

    def link_down(self, *, refused: bool) -> None:
        """Go back to the old certificate when the new one is refused again and again."""
        self._proof_due = False
        with self._disk_may_fail():
            if not refused or not self._identity.on_trial:
                return
            self._refusals += 1
            if self._refusals >= _REFUSALS:
                self._refusals = 0  # should it fail, three more refusals are the pause
                self._identity.fall_back()  # the link reads it at its next attempt
                log.warning("the broker refuses the new certificate: went back to the old one")
                self._wait(_REST_S)

    def _confirm(self) -> None:
        self._identity.confirm()
        self._proof_due = False
        log.info("the broker has taken the new certificate")

    @contextmanager
    def _disk_may_fail(self) -> Iterator[None]:
        """Tell an OSError in the block, each kind once, and rest; the control thread lives on."""
        try:
            yield
        except OSError as error:
            self._wait(_REST_S)
            told = error.strerror or str(error)  # the whole text names a file that is another one each time
            if told != self._told:
                log.warning("the certificate cannot be renewed: %s; trying again", error)
            self._told = told

    def _wait(self, seconds: float) -> None:
        self._look = Deadline.after(seconds, self._clock)
