"""Revisions. A file is named `r<number>_<what>.py`, and its number is its revision and its place."""
