"""What both ends agree on: topics, messages, manifest, bundle, blobs, and the link that carries them.

Nothing here imports another package of ours, and nothing outside `adapters/` touches the world.
"""
