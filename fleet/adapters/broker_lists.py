"""The brokers' lists as files: `fleet.gate.Lists` on real brokers, which are started anew to read them.

A start is what cuts a revoked device off: mosquitto asks the revocation list at handshakes only, and its
SIGHUP drops nobody. The others are back within a second or two, and the broker has saved what it retains.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence

from fleet.adapters.broker import RunningBroker
from fleet.adapters.broker_files import BrokerFiles

log = logging.getLogger(__name__)


class BrokerLists:
    """`broker` is the fleet's, if it is ours; `claims` the one for enrolment, if there is one."""

    def __init__(
        self,
        files: BrokerFiles,
        broker: RunningBroker | None,
        claims: RunningBroker | None,
        own_login: str,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._files = files
        self._broker = broker
        self._claims = claims
        self._own_login = own_login
        self._now = now
        self._in_force = files.revoked()

    @property
    def revoked(self) -> list[str]:
        return self._in_force

    def write_revoked(self, serials: Sequence[str]) -> None:
        self._files.write_crl(serials, self._now())
        if self._broker:
            self._broker.restart()
            log.info("the broker was restarted to refuse %d certificates", len(serials))
        else:
            log.warning("give the broker the new crl.pem and restart it: until then it refuses nobody more")
        self._in_force = list(serials)

    def write_logins(self, lines: Sequence[str]) -> None:
        self._files.write_logins([self._own_login, *lines])
        if self._claims:
            self._claims.restart()

    def tend(self) -> None:
        if self._claims and not self._claims.alive:
            log.error("the broker for enrolment has ended: starting it again")
            self._claims.restart()
