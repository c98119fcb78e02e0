"""What turns a stock system's boot partition into a device of the fleet.

`render.py` is pure (templates and a card in, texts out), `templates.py` finds the templates in
`firmware-config/`, `plan.py` says which files a card's boot partition gets, `app.py` writes them to a
`boot_partition.py`, the port to where they go: a mounted folder, or `fat_volume.py`, which writes FAT in an
image or on a disk. `to_image.py` and `to_disk.py` bring the image there, `many.py` does so for a list.
`cli.py` is the `flash` command.
"""
