"""Which of the user's Jupyter settings a lab uses, and which gears sets itself. Pure.

gears sets a setting for one of two reasons: it would let others in, or it would break the connection from the browser
to JupyterLab. All others are the user's. The names are those of jupyter_server's and jupyter_client's traits.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

CLOSED, WAY = "it would let others in", "it would break the connection to JupyterLab"

SERVER: dict[str, tuple[Any, str]] = {
    "allow_credentials": (False, CLOSED),
    "allow_unauthenticated_access": (False, CLOSED),
    "authenticate_prometheus": (True, CLOSED),
    "cookie_secret": (None, CLOSED),  # in the file that gears names, which others can't read
    "disable_check_xsrf": (False, CLOSED),
    "identity_provider_class": ("jupyter_server.auth.identity.PasswordIdentityProvider", CLOSED),
    "ip": ("127.0.0.1", CLOSED),
    "login_handler_class": ("jupyter_server.auth.login.LegacyLoginHandler", CLOSED),
    "sock_mode": ("0600", CLOSED),
    "token": (None, CLOSED),
    "autoreload": (False, WAY),
    "certfile": ("", WAY),
    "client_ca": ("", WAY),
    "keyfile": ("", WAY),
    "open_browser": (False, WAY),
    "port_retries": (0, WAY),
    "show_config": (False, WAY),
    "show_config_json": (False, WAY),
    "ssl_options": ({}, WAY),
    "websocket_url": ("", WAY),
}
"""ServerApp's traits that gears sets, with the value; None: only removed from the user's configuration."""

LOGIN = {"token": CLOSED, "login_handler_class": CLOSED}
"""IdentityProvider's."""

KERNELS = {"transport": CLOSED, "ip": CLOSED}
"""KernelManager's: kernels use sockets in a private directory, not ports."""

TORNADO = frozenset(
    {
        "allow_credentials",
        "allow_origin",
        "allow_origin_pat",
        "allow_unauthenticated_access",
        "authenticate_prometheus",
        "authorizer",
        "autoreload",
        "cookie_secret",
        "debug",
        "disable_check_xsrf",
        "identity_provider",
        "login_url",
        "xsrf_cookies",
    }
)
"""Keys of ServerApp.tornado_settings that would override the traits."""

VARIABLES = ("JUPYTER_TOKEN", "JUPYTER_ALLOW_INSECURE_WRITES", "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS")
"""Environment variables that JupyterLab does not get: another token, files that others can read, no login."""

ANYBODY = "https://anybody.invalid"
"""An origin that no user has allowed on purpose (RFC 2606)."""

SERVER_CLASSES = r"(?:\w*ServerApp|NotebookApp|LabApp|JupyterApp|Application|SingletonConfigurable|ExtensionApp)"
LOGIN_CLASSES = r"\w*IdentityProvider"
KERNEL_CLASSES = r"(?:\w*KernelManager|ConnectionFileMixin)"


@dataclass(frozen=True, slots=True)
class Found:
    """A setting of the user that is not used. `name`: such as "ServerApp.ip"; `why`: CLOSED or WAY."""

    name: str
    why: str

    def as_line(self, where: str) -> str:
        """Return a line for the log: the setting at `where` is not used, and why."""
        return f"{where}: {self.name} is not used: {self.why}"


def admits_anybody(origin: str, pattern: str) -> bool:
    """Return whether any web page could read JupyterLab's answers.

    Origins that are named are the user's choice. An invalid `pattern` counts as one that admits all.
    """
    try:
        return origin.strip() == "*" or bool(pattern and re.match(pattern, ANYBODY))
    except re.error:
        return True


def take_out(config: Any) -> Iterator[Found]:
    """Remove from `config`, a traitlets Config, what gears sets; yield what was removed, nested sections included."""
    for name, section in list(config.items()):
        if not (name[:1].isupper() and isinstance(section, MutableMapping)):
            continue
        for trait, why in _ours(name):
            if trait in section and trait in dict(section):
                del section[trait]
                yield Found(f"{name}.{trait}", why)
        yield from take_out(section)


def _ours(section: str) -> Iterator[tuple[str, str]]:
    if re.fullmatch(LOGIN_CLASSES, section):
        yield from LOGIN.items()
    elif re.fullmatch(KERNEL_CLASSES, section):
        yield from KERNELS.items()
    elif re.fullmatch(SERVER_CLASSES, section):
        yield from ((trait, why) for trait, (_, why) in SERVER.items())


def find_line(texts: Iterable[tuple[str, str]], name: str) -> tuple[str, str]:
    """Find a setting such as "ServerApp.ip": return "FILE:LINE" and that line, of the last match.

    Two empty strings where no file has it. `texts`: name and content of each file, in the order they are read.
    """
    found = "", "", False
    for file, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            if (exact := _names(line.partition("#")[0], name)) is not None and exact >= found[2]:
                found = f"{file}:{number}", line, exact
    return found[:2]


def _names(line: str, name: str) -> bool | None:
    """Return True where a line names a setting with its class, False where it has only the trait as a quoted key.

    None where it names neither.
    """
    if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", line):
        return True
    trait = re.escape(re.split(r"[. ]", name)[-1])
    return False if re.search(rf"[\"']{trait}[\"']", line) else None


def says(line: str, value: object) -> bool:
    """Return whether a line of Python or JSON sets exactly this value."""
    words = re.split(r"[=:]", line, maxsplit=1)[-1].strip().rstrip(",")
    try:
        value_on_line = (
            {"true": True, "false": False, "null": None}[words] if words in LITERALS else ast.literal_eval(words)
        )
    except (ValueError, SyntaxError):
        return False
    return bool(value_on_line == value or (value == "127.0.0.1" and value_on_line == "localhost"))


LITERALS = ("true", "false", "null")

REFUSED = 78
"""JupyterLab's exit status where a setting of the user prevents its start: EX_CONFIG of sysexits(3)."""

REFUSED_MARK = "gears: refused: "
"""In the log, before the setting's place and the reason."""
