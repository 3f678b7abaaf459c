#!/usr/bin/python3
"""A stand-in for hsi, the client of HPSS: put, get, ls, mv, rm and mkdir, each in a session of its own.

Syntax, exit codes and messages are those of the HSI Reference Manual and of centres' pages on its errors. As the real
one it takes the end of its input for the end of the file, even if what fed it was killed; writes a file under its final
name from the first byte on; leaves there what has arrived if it fails; and here refuses to rename onto a file.

Settings in standin.json beside it: `root`, the directory that plays HPSS; `sessions` at once (15). The file `login`
beside it, if there is one, says for how many sessions the user's credentials are still valid. Faults, in
faults.json: `code` and `words`, with which every session ends at once; `busy`, so many sessions end with 75; `hangs`,
commands that stop without a word; `room`, bytes left; `slow_s` before the first byte of a file, as for a mount;
`damaged`, a bit of what is read is wrong; `short`, so many bytes are missing from it; `cut`, put ends after so many.
"""

import fcntl
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

HERE = Path(__file__).resolve().parent
SETTINGS: dict[str, Any] = json.loads((HERE / "standin.json").read_text())
ROOT = Path(SETTINGS["root"])
FAULTS_FILE = HERE / "faults.json"
FAULTS: dict[str, Any] = json.loads(FAULTS_FILE.read_text()) if FAULTS_FILE.exists() else {}
EX_USAGE, EX_IOERR, EX_TEMPFAIL, EX_NOPERM = 64, 74, 75, 77
NO_KEYTAB = (
    "*** HSI: (KEYTAB auth method) - keytab file missing or inaccessible: /home/alice/.hpss/.ktb_alice",
    "Error - authentication/initialization failed",
)
"""As the Argonne Leadership Computing Facility documents it."""


def end(code: int, *words: str) -> NoReturn:
    for line in words:
        print(line, file=sys.stderr)
    sys.exit(code)


def check_credentials() -> None:
    """Use them once more, or end."""
    try:
        file = (HERE / "login").open("r+")
    except FileNotFoundError:
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if (left := int(file.read())) <= 0:
            end(EX_NOPERM, *NO_KEYTAB)
        file.seek(0)
        file.truncate()
        file.write(str(left - 1))


def log_in() -> BinaryIO:
    """One of the sessions, until this process ends."""
    check_credentials()
    if "code" in FAULTS:
        end(FAULTS["code"], *FAULTS["words"])
    if FAULTS.get("busy", 0) > 0:
        FAULTS_FILE.write_text(json.dumps(FAULTS | {"busy": FAULTS["busy"] - 1}))
        end(EX_TEMPFAIL, "*** HSI: too many sessions, try again later")
    for number in range(SETTINGS.get("sessions", 15)):
        slot = (HERE / f"session-{number}").open("wb")
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            slot.close()
            continue
        return slot
    end(EX_TEMPFAIL, "*** HSI: too many sessions, try again later")


def at(path: str) -> Path:
    return ROOT / path.lstrip("/")


def existing(path: str) -> Path:
    if not at(path).exists():
        end(EX_USAGE, f"*** hpss_Lstat: No such file or directory [-2: HPSS_ENOENT] '{path}'")
    return at(path)


def put(local: str, colon: str, path: str) -> None:
    assert (local, colon) == ("-", ":")
    room, written = FAULTS.get("room"), 0
    if not at(path).parent.is_dir():
        end(EX_USAGE, f"*** put: {path}: No such file or directory [-2: HPSS_ENOENT]")
    with at(path).open("wb", buffering=0) as file:
        while part := sys.stdin.buffer.raw.read(65536):  # type: ignore[attr-defined]
            written += len(part)
            if room is not None and written > room:
                end(EX_IOERR, f"*** put: {path}: write failed [-28: HPSS_ENOSPC]")
            if written > FAULTS.get("cut", written):
                end(EX_IOERR, f"*** put: {path}: lost connection to the mover [-5: HPSS_EIO]")
            file.write(part)


def get(local: str, colon: str, path: str) -> None:
    assert (local, colon) == ("-", ":")
    data = bytearray(existing(path).read_bytes())
    time.sleep(FAULTS.get("slow_s", 0))
    if FAULTS.get("damaged"):
        data[len(data) // 2] ^= 1
    sys.stdout.buffer.write(data[: len(data) - FAULTS.get("short", 0)])


def ls(path: str) -> None:
    found = existing(path)
    for file in sorted(found.iterdir()) if found.is_dir() else [found]:
        kind = "DIRECTORY" if file.is_dir() else "FILE"
        try:
            shown, size = f"/{file.relative_to(ROOT)}", file.stat().st_size
        except FileNotFoundError:  # renamed meanwhile
            continue
        print(
            f"{kind}\t{shown}\t{size}\t{size}\t4+123456\tX0046500\t4\t0\t1\t09/10/2026\t15:22:58\t09/10/2026\t15:30:12"
        )


def mv(old: str, new: str) -> None:
    if at(new).exists():
        end(EX_USAGE, f"*** mv: {new}: File exists [-17: HPSS_EEXIST]")
    existing(old).rename(at(new))


def main() -> None:
    options, command = sys.argv[1:-1], sys.argv[-1]
    if options != ["-q", "-P"]:
        end(EX_USAGE, "usage: hsi [options] [command]")
    words = re.sub(r"^(ls) -a -P ", r"\1 ", command).replace("mkdir -p ", "mkdir ").split()
    session = log_in()
    if words[0] in FAULTS.get("hangs", ()):
        time.sleep(600)
    commands: dict[str, Any] = {
        "put": put,
        "get": get,
        "ls": ls,
        "mv": mv,
        "rm": lambda path: existing(path).unlink(),
        "mkdir": lambda path: at(path).mkdir(parents=True, exist_ok=True),
    }
    commands[words[0]](*words[1:])
    sys.stdout.flush()
    os.close(session.fileno())
    os._exit(0)


main()
