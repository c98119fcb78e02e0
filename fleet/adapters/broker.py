"""A broker of our own, where none runs: mosquitto if it is installed, otherwise an embedded one.

Both are child processes that end with us, listen on one address only, and take no part in the
protocol beyond MQTT 5. The embedded one (rumqttd, from the package iotcore) keeps nothing on disk.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wire.adapters.paho_link import BrokerAddress
from wire.adapters.processes import python_environment, python_module, tied
from wire.deadline import Deadline
from wire.errors import UnavailableError

_START_S: Final = 15.0
_STOP_S: Final = 5.0

_MOSQUITTO: Final = """\
listener {port} {host}
allow_anonymous true
set_tcp_nodelay true
# A fleet that comes back after an outage is a burst; Debian's default of 1000 lost 93 % of one, silently.
max_queued_messages 1000000
max_inflight_messages 1000
max_packet_size 1114112
persistence true
persistence_location {folder}/
autosave_interval 60
log_dest stderr
log_type error
log_type warning
"""

_RUMQTTD: Final = """\
id = 0
[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "edgeflock"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1114112
max_inflight_count = 200
dynamic_filters = true
"""


@dataclass
class RunningBroker:
    """A broker that runs; `stop` ends it."""

    kind: str
    address: BrokerAddress
    process: subprocess.Popen[bytes]

    command: tuple[str, ...]
    log_path: Path
    #: One thread starts it anew for a list, another because it ended.
    lock: threading.RLock = field(default_factory=threading.RLock)
    wanted: bool = True

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def missed(self) -> bool:
        """Whether it has ended though nobody stopped it; while it is started anew one waits."""
        with self.lock:
            return self.wanted and not self.alive

    def restart(self) -> None:
        """End it and start it anew with the files as they are now; raise UnavailableError if it does not.

        Not SIGHUP: mosquitto 2.0.11 then frees the sessions of clients that went away seconds ago, and
        uses them again.
        """
        with self.lock:
            self._end()
            self._start()

    def revive(self) -> None:
        """Start it anew if it is missed; raise UnavailableError if it does not."""
        with self.lock:
            if self.missed:
                self._start()

    def stop(self) -> None:
        """End it in an orderly way, for good: mosquitto saves what it retains."""
        with self.lock:
            self.wanted = False
            self._end()

    def _start(self) -> None:
        self.process = _launch(self.kind, list(self.command), self.address, self.log_path).process

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def find_mosquitto() -> str | None:
    """Return the path of mosquitto; Debian puts it where an ordinary user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def start_broker(folder: Path, address: BrokerAddress, *, kind: str = "auto") -> RunningBroker:
    """Start a broker that keeps its files in `folder`; return when it accepts connections.

    `kind` is `auto`, `mosquitto` or `embedded`. Raises UnavailableError for a port in use or a
    broker that is not installed.
    """
    _refuse_taken(address)
    folder.mkdir(parents=True, exist_ok=True)
    mosquitto = find_mosquitto()
    if kind == "auto":
        kind = "mosquitto" if mosquitto else "embedded"
    if kind == "mosquitto":
        config = _write_config(folder / "plain.conf", user_line() + _MOSQUITTO, address)
        command = [_need(mosquitto), "-c", str(config)]
    else:
        config = _write_config(folder / "rumqttd.toml", _RUMQTTD, address)
        command = python_module("fleet.adapters.embedded_broker", str(config))
    return _launch(kind, command, address, folder / "broker.log")


def start_configured(config: Path, address: BrokerAddress) -> RunningBroker:
    """Start mosquitto with the file `config`, which listens on `address`; otherwise like start_broker."""
    _refuse_taken(address)
    return _launch(
        "mosquitto", [_need(find_mosquitto()), "-c", str(config)], address, config.with_suffix(".log")
    )


def user_line() -> str:
    """Return what mosquitto's configuration needs when we are root: it would drop to a user who may not
    read or write our files."""
    return "user root\n" if os.geteuid() == 0 else ""


def _need(mosquitto: str | None) -> str:
    if mosquitto is None:
        raise UnavailableError("mosquitto is not installed: sudo apt-get install mosquitto")
    return mosquitto


def _launch(kind: str, command: list[str], address: BrokerAddress, log_path: Path) -> RunningBroker:
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            tied(command),
            env=python_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    broker = RunningBroker(kind, address, process, tuple(command), log_path)
    try:
        _wait_until_listening(broker, log_path)
    except BaseException:
        broker.stop()
        raise
    return broker


def _write_config(path: Path, template: str, address: BrokerAddress) -> Path:
    text = template.format(host=address.host, port=address.port, folder=path.parent.resolve())
    path.write_text(text, encoding="utf-8")
    return path


def _refuse_taken(address: BrokerAddress) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address.host, address.port))
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {address.host}:{address.port}: {error.strerror}; "
                "choose another --port, or --broker for the broker that runs there"
            ) from error


def _wait_until_listening(broker: RunningBroker, log_path: Path) -> None:
    deadline = Deadline.after(_START_S)
    while not deadline.passed:
        if broker.process.poll() is not None:
            said = log_path.read_text(errors="replace").strip().splitlines()
            raise UnavailableError(
                f"the {broker.kind} broker ended at once: {said[-1] if said else 'no word'}"
            )
        try:
            socket.create_connection((broker.address.host, broker.address.port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise UnavailableError(f"the {broker.kind} broker did not listen within {_START_S:.0f} s")
