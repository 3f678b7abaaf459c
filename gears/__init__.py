"""gears: a JupyterLab on an HPC centre, at an address that never changes."""

import sys

__version__ = "0.1.0"

if sys.flags.ignore_environment and sys.flags.no_user_site and getattr(sys.flags, "safe_path", False):
    from gears import bytecode

    bytecode.use()
