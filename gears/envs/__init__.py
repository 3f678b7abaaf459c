"""Environments other than gears' own: created for the user, and offered as kernels."""
