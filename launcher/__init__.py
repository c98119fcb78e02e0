"""Which of our software runs on a device: decided before any of it is imported.

It is the only part of `edgeflock agent` that is never updated over the network, so it is small, needs
Python's own library and `wire`, and understands of the state folder just what it must.
"""
