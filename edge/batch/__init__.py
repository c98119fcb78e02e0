"""Many files, each row answered and written exactly once: rules, wiring (app.py) and command (cli.py)."""
