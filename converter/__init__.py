"""The workstation's half: a trained model in; a small, measured and proven bundle out.

Pure core files, `adapters/` for what touches the world, `app.py` for the wiring. TensorFlow, the
quantizer and the interpreters run in child processes: each can end with a segmentation fault.
"""
