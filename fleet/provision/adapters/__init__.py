"""Where the bytes of a card lie: mounted folders, FAT file systems in images, and disks."""
