"""JupyterLab's password, hashed by jupyter_server and kept in its own configuration file, 0600."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from gears.errors import GearsError, UsageError


def config_file() -> Path:
    """Return the file that `jupyter server password` uses too."""
    directory = os.environ.get("JUPYTER_CONFIG_DIR") or "~/.jupyter"
    return Path(directory).expanduser() / "jupyter_server_config.json"


def ask_password() -> str:
    """Ask twice, in a terminal, without echo. Raises UsageError where the passwords differ or are empty."""
    first = getpass.getpass("Password for JupyterLab: ")
    if not first:
        raise UsageError("the password is empty", next="gears password")
    if getpass.getpass("Repeat the password: ") != first:
        raise UsageError("the passwords do not match; nothing was changed", next="gears password")
    return first


def set_password(password: str) -> Path:
    """Hash and store it. Raises GearsError, with the file unchanged, where that is invalid JSON or can't be written."""
    from jupyter_server.auth import security

    path = config_file()
    umask = os.umask(0o077)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        security.set_password(password, config_file=str(path))
        path.chmod(0o600)
    except ValueError as exc:
        raise GearsError(f"{path}: invalid JSON: {exc}", next=f"mv {path} {path}.broken && gears password") from exc
    except OSError as exc:
        raise GearsError(f"{path}: {exc.strerror}", next=f"ls -l {path}") from exc
    finally:
        os.umask(umask)
    return path
