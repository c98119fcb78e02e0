"""What turns a stock system's boot partition into a device of the fleet.

`render.py` is pure (templates and a card in, texts out), `templates.py` finds the templates in
`firmware-config/`, `app.py` writes a boot partition, `cli.py` is the `flash` command.
"""
