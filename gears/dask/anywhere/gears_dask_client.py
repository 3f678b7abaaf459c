"""Prepares every bare `Client()` of a notebook, a script or a shell (distributed.client.preload).

Dask reads the cluster's address once, when it is imported. A notebook can be older than the cluster, or outlive it, and
a `Client()` waits for half a minute if its address no longer responds. So, before it connects, this sets the currently
published address, and checks that a scheduler responds there, with the same versions. If there is no cluster, it limits
the one that Dask makes on this machine to a fair share.

Dask runs this file while it makes the client, in any environment, so it does not import gears. If Dask has changed the
internals that are used here, this file has no effect.
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
else:  # beside this file, which is on sys.path while Dask runs it
    import gears_dask_limits as limits

CONNECT_S = 2.0
DASK = ("dask", "distributed")
JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID")
"""One of them is set in a batch job, whose share is all that its cgroup and its processors allow."""


def prepare(client: Any, directory: str) -> None:
    """Point a new client to the published cluster, or limit the cluster that Dask makes here to a fair share.

    Skip a client with a cluster, a scheduler file or an address that is not from gears. `directory`: the value of
    DASK_CONFIG. Raises ConnectionError with the next command.
    """
    ours = _lines(os.path.join(directory, "..", "addresses"))
    given, configured = client._start_arg, dask.config.get("scheduler-address", None)
    if client.cluster is not None or client.scheduler_file or (given is not None and given not in ours):
        return
    if given is None and (client._startup_kwargs or configured):
        return
    if not os.path.exists(os.path.join(directory, "10-cluster.yaml")):
        _without_cluster(client, given, directory)
        return
    record = _record(directory)
    address = record.get("address")
    if not address or _user_address(directory):
        return
    _check_answers(address, record)
    _check_versions(record)
    _warn_of_environment(record)
    client._start_arg = address
    dask.config.set({"scheduler-address": address})


def _without_cluster(client: Any, given: str | None, directory: str) -> None:
    if given is not None:
        record = _record(directory)
        why = f": {record['reason']}" if record.get("reason") else ""
        raise ConnectionError(f"your Dask cluster has ended{why}\n  next: gears dask up {_site(record)}")
    requested = {name: dask.config.get(f"gears.{name}", None) for name in ("cores", "memory")}
    share = dask.config.get("gears.share", None)
    if share is not None:
        in_job = any(name in os.environ for name in JOBS)
        bounds = limits.bound(limits.read_machine(), share=1.0 if in_job else share, **requested)
        client._startup_kwargs = limits.workers(bounds) | {"dashboard_address": "127.0.0.1:0"}


def _check_answers(address: str, record: dict[str, Any]) -> None:
    host, _, port = address.partition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as exc:
        site = _site(record)
        raise ConnectionError(
            f"your Dask cluster at {address} does not respond ({exc})\n"
            f"  next: gears dask status {site}   (then: gears dask up {site})"
        ) from None


def _check_versions(record: dict[str, Any]) -> None:
    """Raise ConnectionError if the cluster runs another Python (major.minor) or another release of Dask.

    Functions are sent as Python byte code, and Dask's protocol is specific to a release.
    """
    recorded = record.get("versions") or {}
    here = {"python": ".".join(map(str, sys.version_info[:2])), **{name: version(name) for name in DASK}}
    there = {name: str(recorded.get(name, "")) for name in here}
    there["python"] = ".".join(there["python"].split(".")[:2])
    if differ := [name for name in here if there[name] and there[name] != here[name]]:
        versions = ", ".join(f"{name} {there[name]} there and {here[name]} here" for name in differ)
        site, name = _site(record), os.environ.get("GEARS_ENV", "")
        again = f"gears dask up {site} --env {name}" if name else f"gears dask up {site}"
        raise ConnectionError(
            f"your Dask cluster runs other versions: {versions}\n  next: gears dask down {site}; {again}"
        )


def _warn_of_environment(record: dict[str, Any]) -> None:
    """Warn if the cluster was started with another environment, from which its workers import."""
    here, there = os.environ.get("GEARS_ENV", ""), str(record.get("environment") or "")
    if (here or "base") != (there or "base"):
        site = _site(record)
        warnings.warn(
            f"your Dask cluster uses the environment {there or 'base'}, but this is {here or 'base'}: packages that "
            f"only one of them has can't be used there\n"
            f"  next: gears dask down {site}; gears dask up {site} --env {here or 'base'}",
            stacklevel=2,
        )


def _user_address(directory: str) -> str | None:
    """Return the scheduler address that the user has set, which takes precedence; None if there is none."""
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
    """Find the client for which Dask runs this file; None if there is none.

    Dask's Preload, which runs this file, has the client in an attribute, and passes it only after it has connected.
    """
    frame: Any = sys._getframe()
    while frame is not None:
        made = getattr(frame.f_locals.get("self"), "dask_object", None)
        if made is not None:
            return made
        frame = frame.f_back
    return None


def _forget(client: Any) -> None:
    """Undo what the client set in Dask's configuration, or all later computations would use it.

    Dask does the same if a client can't connect.
    """
    undo = getattr(client, "_set_config", None)
    if undo is not None:
        undo.__exit__(None, None, None)


if (_directory := os.environ.get("DASK_CONFIG")) and (_client := _client_being_made()) is not None:
    try:
        prepare(_client, _directory)
    except AttributeError:  # a Dask with other internals: leave it unchanged
        pass
    except ConnectionError:
        _forget(_client)
        raise
