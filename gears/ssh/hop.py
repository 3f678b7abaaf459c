"""A hop: one ssh process with one session, a forward to the next host's socket beside the remote command.

Plans the command line only; `failures` explains why an ssh ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.ssh.options import effective_options, has_forwards, host_key_alias, ssh_options
from gears.ssh.remote_gears import serve_command


@dataclass(frozen=True, slots=True)
class Hop:
    """How to dial the next host.

    `key_alias`: the name of its key in known_hosts. `options`: go before the host name; the loop adds further ones.
    `forward`: part of the command line, read by a shell; empty if one of the options requests the forward.
    """

    host: str
    key_alias: str
    options: tuple[str, ...]
    forward: str
    remote: str


def plan_hop(site: Site, paths: RunDir, *, job: bool = False, forward: str = "", control: str = "") -> Hop:
    """Plan the hop from this host to the site's lab host.

    `job`: request a job. `forward`, `control`: see `control_socket_forward`.

    Runs `ssh -G` for the user's configuration. Raises CommandFailed with ssh's message if that is invalid,
    MissingProgram without ssh.
    """
    host = str(site.lab.host)
    effective = effective_options(host)
    deferred = forward if has_forwards(host) else ""
    return Hop(
        host=host,
        key_alias=host_key_alias(effective, host),
        options=ssh_options(
            effective.get("ciphers", ""), forward=deferred, control=control, clear=not forward or bool(deferred)
        ),
        forward="" if deferred else forward,
        remote=serve_command(site, paths, job=job),
    )
