"""Copies of directory trees that are proven, on POSIX file systems.

`engine.copy_tree` makes a copy and its manifest, `verification.verify` reads a copy again and compares it with the
manifest, `engine.restore` brings back what a directory has lost.
"""
