"""Standard input and output to a TCP port and back: what QEMU runs for each connection a guest makes."""

import os
import select
import socket
import sys


def main() -> None:
    peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    while True:
        ready, _, _ = select.select([0, peer.fileno()], [], [])
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            peer.sendall(data)
        if peer.fileno() in ready:
            data = peer.recv(65536)
            if not data:
                return
            while data:
                data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
