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
from wire.errors import UnavailableError

log = logging.getLogger(__name__)


class BrokerLists:
    """`broker` is the fleet's, if it is ours; `claims` the one for enrolment, if there is one.

    `in_force` is what was on the revocation list before the broker was started: it may have been told
    of more since, and is then started once too often, but never of less.
    """

    def __init__(
        self,
        files: BrokerFiles,
        broker: RunningBroker | None,
        claims: RunningBroker | None,
        own_login: str,
        now: Callable[[], dt.datetime],
        *,
        in_force: Sequence[str],
    ) -> None:
        self._files = files
        self._broker = broker
        self._claims = claims
        self._own_login = own_login
        self._now = now
        self._in_force = list(in_force)

    @property
    def revoked(self) -> list[str]:
        return self._in_force

    def write_revoked(self, serials: Sequence[str]) -> None:
        self._files.write_crl(serials, self._now())
        if self._broker:
            log.info("the broker is restarted to refuse %d certificates", len(serials))
            _restart(self._broker)
        else:
            log.warning("give the broker the new crl.pem and restart it: until then it refuses nobody more")
        self._in_force = list(serials)

    def write_logins(self, lines: Sequence[str]) -> None:
        self._files.write_logins([self._own_login, *lines])
        if self._claims:
            _restart(self._claims)


def _restart(broker: RunningBroker) -> None:
    """End it, which is what counts: should it not start, whoever starts it later has it read the lists."""
    try:
        broker.restart()
    except UnavailableError as error:
        log.error("%s; trying again", error)
