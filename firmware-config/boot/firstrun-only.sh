#!/bin/sh
# Run once by `systemd.run` in cmdline.txt, as root: what custom.toml cannot do. The board restarts when it ends.
set +e
sh /boot/firmware/edgeflock/first-boot.sh enable
sync # before the last line that asks for this
sh /boot/firmware/edgeflock/first-boot.sh disarm
sync
exit 0
