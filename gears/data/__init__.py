"""Copies of directory trees that are proven, on POSIX file systems: their manifests."""
