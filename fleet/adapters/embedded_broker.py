"""The process of the embedded broker: `python -m fleet.adapters.embedded_broker CONFIG`."""

from __future__ import annotations

import logging
import sys

from iotcore import IotCoreBroker


def main(config: str) -> None:
    """Run rumqttd with the TOML file `config` until killed."""
    # It wraps each packet's routing in a span of level error: without this the log is one line a packet.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    IotCoreBroker(config_path=config).run_forever()


if __name__ == "__main__":
    main(sys.argv[1])
