"""What turns a stock system's boot partition into a device of the fleet.

`render.py` is pure (templates and a card in, texts out), `templates.py` finds the templates in
`firmware-config/`, `plan.py` says which files a card's boot partition gets, `app.py` writes them to a
`boot_partition.py`, the port behind which `adapters/` reach folders, images and disks. `cli.py` is the
`flash` command.
"""
