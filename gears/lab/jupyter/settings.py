"""Which of a person's Jupyter settings a lab of gears takes, and which it sets itself. Pure.

A setting is set by gears for one of two reasons: it would let others in, or it would break the way from the browser to
JupyterLab. All else is the person's. The names are those of jupyter_server's and jupyter_client's traits.
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
    "cookie_secret": (None, CLOSED),  # in the file that gears names, with nobody else's eyes on it
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
"""ServerApp's traits that are gears' to set, with the value; None: only taken out of the person's files."""

LOGIN = {"token": CLOSED, "login_handler_class": CLOSED}
"""IdentityProvider's."""

KERNELS = {"transport": CLOSED, "ip": CLOSED}
"""KernelManager's: kernels talk over sockets in a directory of the person's, not over ports."""

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
"""Keys of ServerApp.tornado_settings, which would undo what the traits say."""

VARIABLES = ("JUPYTER_TOKEN", "JUPYTER_ALLOW_INSECURE_WRITES", "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS")
"""Environment variables that JupyterLab does not get: another token, files that others may read, no login."""

ANYBODY = "https://anybody.invalid"
"""An origin that nobody has allowed on purpose (RFC 2606)."""

SERVER_CLASSES = r"(?:\w*ServerApp|NotebookApp|LabApp|JupyterApp|Application|SingletonConfigurable|ExtensionApp)"
LOGIN_CLASSES = r"\w*IdentityProvider"
KERNEL_CLASSES = r"(?:\w*KernelManager|ConnectionFileMixin)"


@dataclass(frozen=True, slots=True)
class Found:
    """A setting of the person's that is not used. `name`: such as "ServerApp.ip"; `why`: CLOSED or WAY."""

    name: str
    why: str

    def as_line(self, where: str) -> str:
        """Say, for a log, that the setting at `where` is not used, and why."""
        return f"{where}: {self.name} is not used: {self.why}"


def admits_anybody(origin: str, pattern: str) -> bool:
    """Tell whether every page on the web may read what JupyterLab answers.

    Origins that are named are the person's choice. An invalid `pattern` is taken for one that does.
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
    """Find where a setting such as "ServerApp.ip" stands, as "FILE:LINE", and what that line says; the last one counts.

    Two empty strings where it stands in no file. `texts`: of each file its name and content, in the order they are
    read.
    """
    found = "", "", False
    for file, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            if (exact := _names(line.partition("#")[0], name)) is not None and exact >= found[2]:
                found = f"{file}:{number}", line, exact
    return found[:2]


def _names(line: str, name: str) -> bool | None:
    """Tell whether a line names a setting with its class (True), or at least, as a key in quotes, without (False).

    None where it does not name it.
    """
    if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", line):
        return True
    trait = re.escape(re.split(r"[. ]", name)[-1])
    return False if re.search(rf"[\"']{trait}[\"']", line) else None


def says(line: str, value: object) -> bool:
    """Tell whether a line of Python or JSON sets just this value."""
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
"""What JupyterLab ends with where a setting of the person's is in the way: EX_CONFIG of sysexits(3)."""

REFUSED_MARK = "gears: refused: "
"""In its log, before where that stands, and the reason."""
