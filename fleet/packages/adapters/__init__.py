"""Packages' edges: pip, files, dpkg-deb."""
