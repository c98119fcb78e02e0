"""A real mosquitto with the configuration of `fleet init`, certificates for it, and voices to try it with."""

from __future__ import annotations

import datetime as dt
import queue
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fleet.adapters import pki
from fleet.adapters.broker import RunningBroker, find_mosquitto, free_port, start_configured, user_line
from fleet.adapters.broker_files import BrokerFiles
from fleet.broker_setup import BrokerPlan
from wire.adapters.paho_link import BrokerAddress
from wire.adapters.tls import TlsFiles, load, make_context
from wire.deadline import Deadline, wait_until

needs_mosquitto = pytest.mark.skipif(
    find_mosquitto() is None, reason="mosquitto is not installed (sudo apt-get install mosquitto)"
)

#: Two names of the tests' own: one may read all and one may write all, so that silence can be believed.
WATCHER: Final = "test-watcher"
WRITER: Final = "test-writer"
_OWN_ACL: Final = f"\nuser {WATCHER}\ntopic read #\ntopic read $SYS/#\n\nuser {WRITER}\ntopic write #\n"

_DAY: Final = dt.timedelta(days=1)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass
class LockedBroker:
    """A broker that runs, and the files that it was made with."""

    folder: Path
    files: BrokerFiles
    plan: BrokerPlan
    running: RunningBroker
    claims: RunningBroker

    @classmethod
    def start(cls, folder: Path, home: str = "", more: str = "") -> LockedBroker:
        """Start both; `more` is appended to the configuration of the fleet's own."""
        plan = BrokerPlan(
            ("127.0.0.1",), port=free_port(), claim_port=free_port(), bind="127.0.0.1", home=home
        )
        files = BrokerFiles(folder)
        files.make(plan, now())
        with (files.folder / "acl.conf").open("a") as acl:
            acl.write(_OWN_ACL)
        with (files.folder / "claims-acl.conf").open("a") as acl:
            acl.write(_OWN_ACL)
        with (files.folder / "mosquitto.conf").open("a") as config_file:
            config_file.write(more)
        config = files.running_config(plan.port, user_line())
        running = start_configured(config, BrokerAddress("127.0.0.1", plan.port))
        config = files.running_claims_config(plan.claim_port, user_line())
        claims = start_configured(config, BrokerAddress("127.0.0.1", plan.claim_port))
        return cls(folder, files, plan, running, claims)

    def stop(self) -> None:
        self.running.stop()
        self.claims.stop()

    def identity(
        self,
        name: str,
        *,
        authority: pki.Authority | None = None,
        life: dt.timedelta = _DAY,
        at: dt.datetime | None = None,
    ) -> Path:
        """Return a file with a new key and its certificate, by default one of the devices' CA."""
        key = pki.make_key()
        issued = (authority or self.files.authority()).client(name, key.public_key(), at or now(), life)
        path = self.folder / f"{issued.serial}.pem"
        path.write_bytes(pki.key_pem(key) + issued.pem.encode())
        return path

    def address(
        self, identity: Path | None, *, ca: Path | None = None, host: str = "127.0.0.1"
    ) -> BrokerAddress:
        return BrokerAddress(host, self.plan.port, TlsFiles(ca or self.files.broker_ca, identity))

    @property
    def claim_address(self) -> BrokerAddress:
        return BrokerAddress("127.0.0.1", self.plan.claim_port, TlsFiles(self.files.broker_ca))


class Voice:
    """A client with nothing between it and the broker: it sees reason codes, and may lie."""

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str = "",
        *,
        login: tuple[str, str] | None = None,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self.heard: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self.reasons: dict[int, int] = {}
        self.granted: set[int] = set()
        self.connack: int | None = None
        self.lost = False
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        if login:
            client.username_pw_set(*login)
        if will:
            client.will_set(will[0], will[1], qos=1)
        if address.tls:
            context = make_context()
            load(context, address.tls)
            client.tls_set_context(context)
        self._client = client
        client.connect(address.host, address.port, keepalive=10)
        client.loop_start()
        assert wait_until(lambda: self.connack is not None or self.lost, Deadline.after(10))

    @property
    def connected(self) -> bool:
        return self.connack == 0 and not self.lost

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish at QoS 1 and return the broker's reason code."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        assert wait_until(lambda: info.mid in self.reasons or self.lost, Deadline.after(10))
        return self.reasons.get(info.mid, -1)

    def subscribe(self, topic: str) -> None:
        """Subscribe, and return when the broker has answered."""
        _, mid = self._client.subscribe(topic, 1)
        assert wait_until(lambda: mid in self.granted or self.lost, Deadline.after(10))

    def unsubscribe(self, topic: str) -> None:
        self._client.unsubscribe(topic)

    def hear_until(self, payload: bytes) -> list[tuple[str, bytes]]:
        """Return what came before the message with `payload`; messages of one sender come in order."""
        before: list[tuple[str, bytes]] = []
        while True:
            message = self.heard.get(timeout=10)
            if message[1] == payload:
                return before
            before.append(message)

    def vanish(self) -> None:
        """Break off without a word: the broker sends the will."""
        self._client._thread_terminate = True
        sock: Any = self._client.socket()
        sock.shutdown(2)
        sock.close()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        self.heard.put((message.topic, bytes(message.payload)))

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self.connack = int(reason.value)

    def _on_disconnect(self, *_: Any) -> None:
        self.lost = True

    def _on_publish(self, _c: Any, _u: Any, mid: int, reason: Any, _p: Any) -> None:
        self.reasons[mid] = int(reason.value)

    def _on_subscribe(self, _c: Any, _u: Any, mid: int, _reasons: Any, _p: Any) -> None:
        self.granted.add(mid)
