"""Data: the places of a site, tried from this host; and copies of directory trees that are proven.

`places` has the first. `engine.copy_tree` makes a copy and its manifest, `verification.verify` reads a copy again and
compares it with the manifest, `engine.restore` brings back what a directory has lost; no command uses these yet.
"""
