"""Serving over HTTP: protocols, limits and metrics, without a socket.

`application.py` is an ASGI application; what listens is in edge/adapters/.
"""
