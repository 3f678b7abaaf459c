"""gears: a JupyterLab on an HPC centre, at an address that never changes."""

__version__ = "0.1.0"
