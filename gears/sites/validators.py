"""Checks of values for use in paths, ssh options, ssh configurations and job scripts.

Each check returns its argument, or raises ValueError with the reason. A valid value needs no quoting in any of these
places. Pure.
"""

import re
from collections.abc import Callable
from typing import Any

Check = Callable[[object], Any]

SITE_NAME = r"(?!(?:envs|forward)$)[a-z0-9][a-z0-9_-]{0,31}"
"""Each site has a directory under run/, which also has those of environments and forwards."""
_USER = r"[A-Za-z0-9_](?:[A-Za-z0-9_.@+-]|\\(?=[A-Za-z0-9_])){0,63}"
"""Includes accounts of directory services: name@domain, DOMAIN\\name. Quoted for shells."""
_HOST = r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?"
_PATH = r"(?:~|~?(?:/[A-Za-z0-9._+@,=-]+)+|/)/?"
_TEMPLATE_PATH = r"(?:~|~?(?:/(?:[A-Za-z0-9._+@,=-]|\{user\})+)+|/)/?"
_PLACE_PATH = r"(?:~|~?(?:/(?:[A-Za-z0-9._+@,=-]|\{user\}|\{project\})+)+|/)/?"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_REMOTE_PATH = r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*:(?:[A-Za-z0-9._+@,=/~-]|\{user\}|\{project\})*"
_SIZE = r"(\d{1,6}(?:\.\d{1,3})?) ?([kKMGTP]i?)?B"
_LONGEST_TEXT = 500


def word(regex: str, meaning: str) -> Check:
    """Make a check for text that matches `regex` as a whole. `meaning` completes the message "… is not"."""

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"must be text in quotes, not {_kind(value)}")
        if not re.fullmatch(regex, value):
            raise ValueError(f"{_short(value)} is not {meaning}")
        return value

    return check


def one_of(*choices: str) -> Check:
    """Make a check for a value that is one of `choices`."""

    def check(value: object) -> object:
        if value not in choices:
            raise ValueError(f"{_short(value)} is not one of {', '.join(choices)}")
        return value

    return check


def many(check_item: Check) -> Check:
    """Make a check for a list whose items pass `check_item`; returns a tuple."""

    def check(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list in brackets, not {_kind(value)}")
        return tuple(check_item(item) for item in value)

    return check


def optional(check_value: Check) -> Check:
    """Make a check like `check_value` that returns None for "", so that a later profile can unset a key."""
    return lambda value: None if value == "" else check_value(value)


def or_empty(check_value: Check) -> Check:
    """Make a check like `check_value` that also accepts ""."""
    return lambda value: value if value == "" else check_value(value)


def number(least: int, most: int, meaning: str = "number") -> Check:
    """Make a check for an integer from `least` to `most`. `meaning`: its name in the message."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"must be an integer, not {_kind(value)}")
        if not least <= value <= most:
            raise ValueError(f"{value} is not a {meaning} between {least} and {most}")
        return value

    return check


def switch(value: object) -> bool:
    """Check true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_kind(value)}")
    return value


def text(value: object) -> str:
    """Check one line of text, passed on verbatim: no control characters, 500 characters at most."""
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, not {_kind(value)}")
    if not value.isprintable():
        raise ValueError(f"{_short(value)} contains a line break or another control character")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"is {len(value)} characters long; at most {_LONGEST_TEXT}")
    return value


def walltime(value: object) -> str:
    """Check a job's time limit, [D-]HH:MM:SS, longer than zero. Days and hours have up to three digits."""
    clock: str = word(r"(?:\d{1,3}-)?\d{1,3}:[0-5]\d:[0-5]\d", "a time such as 01:30:00 or 2-00:00:00")(value)
    if not re.search("[1-9]", clock):
        raise ValueError("must be longer than zero")
    return clock


def walltime_s(clock: str) -> int:
    """Convert a valid `walltime` to seconds."""
    days, _, rest = clock.rpartition("-")
    hours, minutes, seconds = (int(part) for part in rest.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def directive(value: object) -> str:
    """Check a scheduler directive, such as --gres=gpu:1: nothing that a shell would run.

    It begins with - or with the scheduler's prefix (#SBATCH, #PBS, #BSUB or #$) followed by -.
    """
    line = text(value)
    if not re.match(r"-|#(?:SBATCH|PBS|BSUB|\$)\s*-", line):
        raise ValueError(f"{_short(line)} is not a directive: it must begin with - or with the scheduler's prefix")
    return line


def setting(value: object) -> object:
    """Check a setting of another program: any value that TOML and JSON share, with text as strict as `text`.

    Returns lists and tuples as lists.
    """
    match value:
        case bool() | int() | float():
            return value
        case str():
            return text(value)
        case list() | tuple():
            return [setting(item) for item in value]
        case dict():
            return {setting_name(key): setting(item) for key, item in value.items()}
    raise ValueError(f"must be text, a number, true, false, a list or a table, not {_kind(value)}")


def path(value: object) -> str:
    """Check an absolute path, or one from ~, of letters, digits and ._+@,=- without `..`."""
    return _without_parent(word(_PATH, "an absolute path, or one from ~, of letters, digits and ._+@,=-")(value))


def template_path(value: object) -> str:
    """Check like `path`; `{user}` stands for the account there."""
    meaning = "an absolute path, or one from ~, of letters, digits, ._+@,=- and {user}"
    return _without_parent(word(_TEMPLATE_PATH, meaning)(value))


def place_path(value: object) -> str:
    """Check a place's path, like `template_path` with {project} too, or NAME:PATH, as rclone and Globus have it."""
    meaning = "an absolute path, one from ~, or NAME:PATH, of letters, digits, ._+@,=-, {user} and {project}"
    return _without_parent(word(f"{_PLACE_PATH}|{_REMOTE_PATH}", meaning)(value))


def uuid(value: object) -> str:
    """Check an identifier of Globus."""
    return str(word(_UUID, "an identifier such as 6c54cade-bde5-45c1-bdea-f4bd71dba2cc")(value))


def collection(value: object) -> str:
    """Check the identifier of a collection of Globus, alone or followed by `:` and a path in it."""
    meaning = "the identifier of a collection, or IDENTIFIER:PATH"
    return _without_parent(word(rf"{_UUID}(?::(?:/[A-Za-z0-9._+@,=~-]+)*/?)?", meaning)(value))


def command(value: object) -> str:
    """Check a command line, as for a shell, that is run without one: words, quoted or not, at least one."""
    import shlex

    line = text(value)
    try:
        words = shlex.split(line)
    except ValueError as exc:
        raise ValueError(f"{_short(line)} is not a command: {str(exc).lower()}") from exc
    if not words or not words[0] or words[0].startswith("-"):
        raise ValueError(f"{_short(line)} is not a command: it must begin with a program")
    return line


def size(value: object) -> str:
    """Check a size in bytes such as "100GB" (powers of ten) or "100GiB" (of two), larger than zero."""
    found: str = word(_SIZE, 'a size such as "100GB" or "1.5TiB"')(value)
    if size_bytes(found) < 1:
        raise ValueError("must be larger than zero")
    return found


def size_bytes(value: str) -> int:
    """Convert a valid `size` to bytes."""
    found = re.fullmatch(_SIZE, value)
    assert found is not None
    prefix = (found[2] or " ").upper()
    return int(float(found[1]) * (1024 if prefix.endswith("I") else 1000) ** " KMGTP".index(prefix[0]))


def host_local(value: object) -> str:
    """Check a path on a local disk: like `path`, and not from ~, the home directory."""
    if isinstance(value, str) and value.startswith("~"):
        raise ValueError("must be on a local disk, not in the home directory")
    return path(value)


def _without_parent(value: str) -> str:
    if ".." in value.split("/"):
        raise ValueError(f"{_short(value)} contains ..")
    return value


def _kind(value: object) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a decimal number", list: "a list"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else f"a {type(value).__name__}")


def _short(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


port = number(1024, 65535, "port")


def port_or_any(value: object) -> int:
    """Check a port; 0: any free one."""
    return 0 if value == 0 and not isinstance(value, bool) else int(port(value))


site_name = word(
    SITE_NAME, "a site's name: up to 32 of a-z, 0-9, _ and -, not beginning with _ or -, and not envs or forward"
)
place_name = word(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,31}", "a place's name: up to 32 letters, digits, _ and -")
project = word(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}", "a project's name: letters, digits, _, ., + and -")
setting_name = word(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "a key: letters, digits, _, . and -")
user = word(_USER, "a user's name: letters, digits, _, . and -, not beginning with -")
host = word(_HOST, "a host name: letters, digits, ., - and _")
jump = word(rf"(?:{_USER}@)?{_HOST}", "HOST or USER@HOST")
pattern = word(r"[A-Za-z0-9*?\[][A-Za-z0-9._*?\[\]!-]{0,252}", "a pattern for host names such as login*")
job_word = word(r"[A-Za-z0-9_][A-Za-z0-9_.,@+-]{0,63}", "a name a scheduler knows: letters, digits and _.,@+-")
