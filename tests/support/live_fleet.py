"""A fleet in this process on a real mosquitto: server and devices are threads, the interpreter is a fake.

For what needs the real broker and the real loops, and no model: transfers, plans, repair.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from edge.adapters.model_store import ModelStore
from edge.adapters.outbox import Outbox
from edge.control import Control, Identity, OwnModel, Parts
from edge.download import Download, Part
from edge.ports import Ports
from edge.recorder import Recorder
from edge.results import ResultQueue
from edge.selfcheck import SelfCheck
from edge.trust import Unsigned
from edge.updater import Updater
from fleet.adapters.broker import free_port, start_broker
from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.app import ServerSettings, serve
from fleet.releasing import Built
from tests.support.fakes import ScriptedServing, ScriptedTrial
from tests.support.shelf import Goods
from tests.support.watching import make_reporting
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.deadline import Deadline, wait_until
from wire.messages import Blob, Event
from wire.topics import BlobTopic, Topics

TOPICS: Final = Topics()


class LiveDevice:
    """A device whose control loop runs in a thread. `arrivals` are the times of its chunks, monotonic."""

    def __init__(self, folder: Path, name: str, address: BrokerAddress) -> None:
        self.link = PahoLink(address, name)
        self.serving, self.trial = ScriptedServing(), ScriptedTrial()
        self.events: list[Event] = []
        self.arrivals: list[float] = []
        self.outbox = Outbox(folder / "outbox.db", "b1")
        store = ModelStore(folder)
        store.open()
        self.outbox.open()
        ports = Ports(store, self.trial, self.serving, self._make_download, self._journal, time.monotonic)
        self.updater = Updater(name, "digits", ports)
        self.updater.recover()
        model = OwnModel("digits", self.updater, ResultQueue(10), list, SelfCheck(self.serving))
        reporting, observing = make_reporting(Recorder(), time.monotonic, 5.0)
        parts = Parts(
            self.link, TOPICS, Unsigned(), (model,), self.outbox, reporting, observing, (), lambda: 0,
            lambda: 0, store.free_bytes, time.monotonic, time.time,
        )  # fmt: skip
        self._stop = threading.Event()
        control = Control(Identity(name, "b1", "test"), parts)
        self._thread = threading.Thread(target=control.run, args=(self._stop,), name=name)
        self._thread.start()

    @property
    def asked_for(self) -> list[str]:
        """The chunks that it is subscribed to now."""
        with self.link._lock:
            return [topic for topic in self.link._subscribed if "/blobs/" in topic]

    def answer(self) -> None:
        """Let it have answered enough calls to end a probation."""
        current = self.updater.report().current
        if current:
            self.serving.answer(current, 50, 1000.0)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.outbox.close()

    def _make_download(self, blob: Blob, part: Part, rate_bytes_s: int | None) -> Download:
        return _Timed(blob, part, self.link, TOPICS, rate_bytes_s=rate_bytes_s).into(self.arrivals)

    def _journal(self, event: Event) -> None:
        self.events.append(event)
        self.outbox.add("event", event)


class _Timed(Download):
    """A download that notes when its chunks came."""

    _arrivals: list[float]

    def into(self, arrivals: list[float]) -> _Timed:
        self._arrivals = arrivals
        return self

    def receive(self, topic: BlobTopic, payload: bytes, now_s: float) -> None:
        before = self.fetched
        super().receive(topic, payload, now_s)
        self._arrivals += [now_s] * (self.fetched - before)


class LiveFleet:
    """A mosquitto, a server, and devices."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "fleet"
        self.broker = start_broker(
            folder / "broker", BrokerAddress("127.0.0.1", free_port()), kind="mosquitto"
        )
        self.devices: list[LiveDevice] = []
        self._stop = threading.Event()
        settings = ServerSettings(self.state, self.broker.address, unsigned=True)
        self._server = threading.Thread(target=serve, args=(settings, self._stop), name="server")
        self._server.start()

    def device(self, name: str = "pi-1") -> LiveDevice:
        device = LiveDevice(self.folder / name, name, self.broker.address)
        self.devices.append(device)
        return device

    def push(self, goods: Goods, *, rate_bytes_s: int | None = None) -> None:
        """Do what `fleet push` does."""
        self.wait("the server's database", (self.state / "fleet.db").exists)
        database = Database(self.state).open()
        registry = Registry(database).open()
        release = registry.add_release(Built(goods.release, goods.blob, goods.digests))
        registry.plan(release, "all", rate_bytes_s=rate_bytes_s)
        database.close()

    def commit(self, device: LiveDevice, release: str) -> None:
        """Wait until the device runs `release` and trusts it."""

        def settled() -> bool:
            device.answer()
            report = device.updater.report()
            return (report.current, report.state) == (release, "idle")

        self.wait(f"{release} is committed", settled)

    def restart_broker(self, *, lose: bool) -> None:
        """Restart it; with `lose` it is killed, and what it retained is gone."""
        if lose:
            self.broker.process.kill()
            self.broker.process.wait()
            (self.folder / "broker" / "mosquitto.db").unlink(missing_ok=True)
        else:
            self.broker.stop()
        self.broker = start_broker(self.folder / "broker", self.broker.address, kind="mosquitto")

    @staticmethod
    def wait(what: str, condition: object, seconds: float = 60.0) -> None:
        assert callable(condition)
        if not wait_until(condition, Deadline.after(seconds), every_s=0.01):
            raise AssertionError(f"{what}: not within {seconds} s")

    def stop(self) -> None:
        for device in self.devices:
            device.stop()
        self._stop.set()
        self._server.join()
        self.broker.stop()
