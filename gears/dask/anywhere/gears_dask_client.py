"""Looks after every bare `Client()` of a notebook, a script or a shell (distributed.client.preload).

Dask reads the cluster's address once, as it is imported. A notebook may be older than the cluster, or outlive it, and
a `Client()` on an address where nobody is any more waits for half a minute. So, before it connects: the address is the
one that is published now, somebody answers there, and is of the same version. Where there is no cluster, the one that
Dask makes on this machine keeps to a fair share of it.

Dask runs this file while it makes the client, in whatever environment: it imports no gears. Where Dask has changed what
is looked at here, all is as if this file were not there.
"""

from __future__ import annotations

import glob
import json
import os
import socket
import sys
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dask

if TYPE_CHECKING:
    from gears.dask.anywhere import gears_dask_limits as limits
else:  # beside this file, where Dask looks while it runs it
    import gears_dask_limits as limits

KNOCK_S = 2.0
DASK = ("dask", "distributed")
JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID")
"""One of them is set in a batch job, which has been given what its cgroup and its processors say."""


def look_after(client: Any, directory: str) -> None:
    """Point a client that is being made at the published cluster, or give the one that Dask makes here a fair share.

    Leave alone a client that names a cluster, a scheduler file or an address that is not one of gears'. `directory`:
    the value of DASK_CONFIG. Raises ConnectionError with what to type.
    """
    ours = _lines(os.path.join(directory, "..", "addresses"))
    asked, known = client._start_arg, dask.config.get("scheduler-address", None)
    if client.cluster is not None or client.scheduler_file or (asked is not None and asked not in ours):
        return
    if asked is None and (client._startup_kwargs or known):
        return
    if not os.path.exists(os.path.join(directory, "10-cluster.yaml")):
        _without(client, asked, directory)
        return
    record = _record(directory)
    address = record.get("address")
    if not address or _own_address(directory):
        return
    _check_answers(address, record)
    _check_versions(record)
    _warn_of_environment(record)
    client._start_arg = address
    dask.config.set({"scheduler-address": address})


def _without(client: Any, asked: str | None, directory: str) -> None:
    if asked is not None:
        record = _record(directory)
        why = f": {record['reason']}" if record.get("reason") else ""
        raise ConnectionError(f"your Dask cluster has ended{why}\n  next: gears dask up {_site(record)}")
    asked_for = {name: dask.config.get(f"gears.{name}", None) for name in ("cores", "memory")}
    share = dask.config.get("gears.share", None)
    if share is not None:
        in_job = any(name in os.environ for name in JOBS)
        bounds = limits.bound(limits.read_machine(), share=1.0 if in_job else share, **asked_for)
        client._startup_kwargs = limits.workers(bounds) | {"dashboard_address": "127.0.0.1:0"}


def _check_answers(address: str, record: dict[str, Any]) -> None:
    host, _, port = address.partition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, ValueError) as exc:
        site = _site(record)
        raise ConnectionError(
            f"nobody answers at {address}, where your Dask cluster was ({exc})\n"
            f"  next: gears dask status {site}   (then: gears dask up {site})"
        ) from None


def _check_versions(record: dict[str, Any]) -> None:
    """Raise ConnectionError where the cluster runs another Python (major.minor) or another release of Dask.

    Functions are handed over as Python's byte code, and Dask's parts talk as one release does.
    """
    theirs = record.get("versions") or {}
    mine = {"python": ".".join(map(str, sys.version_info[:2])), **{name: version(name) for name in DASK}}
    told = {name: str(theirs.get(name, "")) for name in mine}
    told["python"] = ".".join(told["python"].split(".")[:2])
    if differ := [name for name in mine if told[name] and told[name] != mine[name]]:
        words = ", ".join(f"{name} {told[name]} there and {mine[name]} here" for name in differ)
        site, name = _site(record), os.environ.get("GEARS_ENV", "")
        again = f"gears dask up {site} --env {name}" if name else f"gears dask up {site}"
        raise ConnectionError(
            f"your Dask cluster is of other versions: {words}\n  next: gears dask down {site}; {again}"
        )


def _warn_of_environment(record: dict[str, Any]) -> None:
    """Warn where the cluster was started with another environment: its workers import what that one has."""
    mine, theirs = os.environ.get("GEARS_ENV", ""), str(record.get("environment") or "")
    if (mine or "base") != (theirs or "base"):
        site = _site(record)
        warnings.warn(
            f"your Dask cluster has the environment {theirs or 'base'}, and this is {mine or 'base'}: what only one of "
            f"them has installed can't be used there\n"
            f"  next: gears dask down {site}; gears dask up {site} --env {mine or 'base'}",
            stacklevel=2,
        )


def _own_address(directory: str) -> str | None:
    """Return the scheduler address that the person herself has set, or None: it is hers to say."""
    files = sorted(glob.glob(os.path.join(glob.escape(directory), "[56]0-*")))
    address = dask.config.get("scheduler-address", None, config=dask.config.collect(files))
    return str(address) if address else None


def _record(directory: str) -> dict[str, Any]:
    try:
        with open(os.path.join(directory, "..", "cluster.json"), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


def _site(record: dict[str, Any]) -> str:
    return str(record.get("site") or os.environ.get("GEARS_SITE") or "")


def _client_being_made() -> Any:
    """Find the client for which Dask runs this file; None where there is none.

    Dask's Preload, which runs this file, has the client in an attribute, and hands it on only once it has connected.
    """
    frame: Any = sys._getframe()
    while frame is not None:
        made = getattr(frame.f_locals.get("self"), "dask_object", None)
        if made is not None:
            return made
        frame = frame.f_back
    return None


def _forget(client: Any) -> None:
    """Undo what the client set in Dask's configuration, or all later computations would look for it.

    Dask does the same where a client can't connect.
    """
    undo = getattr(client, "_set_config", None)
    if undo is not None:
        undo.__exit__(None, None, None)


if (_directory := os.environ.get("DASK_CONFIG")) and (_client := _client_being_made()) is not None:
    try:
        look_after(_client, _directory)
    except AttributeError:  # another Dask, which is as it is without us
        pass
    except ConnectionError:
        _forget(_client)
        raise
