"""A board's files of /proc and /sys, stood into a folder."""

from __future__ import annotations

import os
from pathlib import Path

_CLOCK = "sys/devices/system/cpu/cpu0/cpufreq"
_NET = """Inter-|   Receive                  |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo: 9999 1 0 0 0 0 0 0 9999 1 0 0 0 0 0 0
  eth0: 1000 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0
 wlan0:   30 1 0 0 0 0 0 0 4 1 0 0 0 0 0 0
"""
_PI = {
    "proc/uptime": "86400.12 300000.00\n",
    "proc/meminfo": "MemTotal: 900 kB\nSwapTotal:  100 kB\nSwapFree: 40 kB\n",
    "proc/net/dev": _NET,
    f"{_CLOCK}/scaling_cur_freq": "1500000\n",
    f"{_CLOCK}/stats/time_in_state": "600000 0\n1500000 0\n1800000 0\n",
    "sys/class/thermal/thermal_zone0/temp": "61234\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "sys/fs/ext4/mmcblk0p2/lifetime_write_kbytes": "12345\n",
    "sys/fs/ext4/mmcblk0p2/errors_count": "2\n",
}


def stand(root: Path, files: dict[str, str]) -> Path:
    """Write `files` below `root`, and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def stat(busy: int, idle: int) -> str:
    """Return a /proc/stat of two cores in ticks, of which the second does nothing."""
    rest = busy + idle
    return f"cpu  1 0 0 1 0 0 0 0\ncpu0 {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu1 0 0 0 {rest} 0 0 0 0 0 0\n"


def stand_pi(root: Path, state: Path) -> Path:
    """Write a Raspberry Pi whose ext4 partition holds the folder `state`, and return its root."""
    stand(root, {**_PI, "proc/stat": stat(0, 0)})
    device = os.stat(state).st_dev
    block = root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
    block.parent.mkdir(parents=True)
    (root / "sys/devices/mmcblk0p2").mkdir(parents=True)
    block.symlink_to("../../devices/mmcblk0p2")
    return root
