"""A model file read in pure Python, within bounds, before any interpreter sees it."""
