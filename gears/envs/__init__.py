"""Environments beside the one gears runs in: what is made for a person, and offered to her as kernels."""
