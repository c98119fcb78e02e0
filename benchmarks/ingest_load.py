"""The load of benchmarks/ingest.py: reports of many devices over one raw MQTT 5 connection, at a stated rate.

    python benchmarks/ingest_load.py PORT DEVICES ROUNDS FIRST RATE

Publishes at QoS 1 and waits for the broker's acknowledgements, at most 2000 of them open. Payloads are those
of simulated devices, encoded beforehand; each has its own device, sequence and time. RATE 0 is as fast as
it goes. Prints what it sent, in which time.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet.simulation.device import SimulatedDevice
from fleet.simulation.scenario import Conditions, Scenario
from wire.codec import encode

TEMPLATES: Final = 64
_OPEN: Final = 2000
_BURST: Final = 50
_HEAD: Final = b'{"head":{"boot":"b1","sequence":%d,"first":1,"time_s":%.3f},"body":'


def bodies() -> list[bytes]:
    """Return the bodies of some reports, which all devices share."""
    scenario = Scenario(samples=0)
    said = [SimulatedDevice(scenario, n).speak(1e9, Conditions("camera/1"))[-1] for n in range(TEMPLATES)]
    return [encode(s.message.body) for s in said]


def connect(port: int, client_id: str) -> socket.socket:
    """Connect to a broker on this machine, without a session."""
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = client_id.encode()
    body = b"\x00\x04MQTT\x05\x02\x00\x00\x00" + struct.pack(">H", len(name)) + name
    link.sendall(b"\x10" + _length(len(body)) + body)
    if link.recv(1024)[:1] != b"\x20":
        raise ConnectionError("no CONNACK")
    return link


def publish(topic: bytes, payload: bytes, number: int) -> bytes:
    """Return a PUBLISH packet at QoS 1."""
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", number) + b"\x00" + payload
    return b"\x32" + _length(len(body)) + body


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, digit = divmod(n, 128)
        out.append(digit | (128 if n else 0))
        if not n:
            return bytes(out)


class Acks:
    """Counts PUBACKs: 4 bytes from a broker that has nothing to say, 5 or 6 with a reason."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._rest = b""
        self.count = 0

    def read(self, *, wait: bool) -> None:
        """Take what has come."""
        try:
            data = self._link.recv(65536, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the broker hung up")
        data = self._rest + data
        at = 0
        while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
            self.count += data[at] == 0x40
            at += 2 + data[at + 1]
        self._rest = data[at:]


def main() -> None:
    """Send, and print how fast that was."""
    port, devices, rounds, first, rate = (int(a) for a in sys.argv[1:6])
    link, made = connect(port, f"load-{first}"), bodies()
    acks, sent, start = Acks(link), 0, time.monotonic()
    for sequence in range(first, first + rounds):
        for device in range(devices):
            head = b'{"head":{"boot":"b1","sequence":%d,"first":1,"time_s":%.3f},"body":' % (
                sequence,
                time.time(),
            )
            payload = head + made[(device + sequence) % TEMPLATES] + b',"v":1}'
            link.sendall(publish(b"edgeflock/d/d%06d/telemetry" % device, payload, sent % 65535 + 1))
            sent += 1
            if sent % _BURST == 0:
                acks.read(wait=False)
                while sent - acks.count > _OPEN:
                    acks.read(wait=True)
                if rate:
                    time.sleep(max(0.0, start + sent / rate - time.monotonic()))
    while acks.count < sent:
        acks.read(wait=True)
    print(sent, time.monotonic() - start)


if __name__ == "__main__":
    main()
