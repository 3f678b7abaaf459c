"""A hop: one ssh process with one session, a forward to the next host's socket beside the remote command.

Plans the command line (`plan_hop`) and says why an ssh ended (`why_ended`). ssh exits 255 for every failure of its own,
so the reason is read from its standard error, in its English, which ssh never translates.
"""

from __future__ import annotations

from dataclasses import dataclass

from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.ssh.options import effective_options, has_forwards, known_as, ssh_options
from gears.ssh.remote_gears import hand_over


@dataclass(frozen=True, slots=True)
class Hop:
    """How to dial the next host. `options` go before the host's name; the loop adds how and where. `forward`: words of
    the command line, read by a shell; empty where one of the options sees to it."""

    host: str
    key_alias: str
    options: tuple[str, ...]
    forward: str
    remote: str


def plan_hop(site: Site, paths: RunDir, gears: str, *, job: bool = False, forward: str = "", control: str = "") -> Hop:
    """Plan the hop from this host to the site's lab host.

    `gears`: the command on the lab host. `job`: a job is asked for. `forward`, `control`: as `own_forward` has them.

    Asks `ssh -G` what the person's configuration says of the host. Raises CommandFailed with ssh's words where that is
    wrong, MissingProgram without ssh.
    """
    host = str(site.lab.host)
    effective = effective_options(host)
    behind = forward if has_forwards(host) else ""
    return Hop(
        host=host,
        key_alias=known_as(effective, host),
        options=ssh_options(
            effective.get("ciphers", ""), forward=behind, control=control, clear=not forward or bool(behind)
        ),
        forward="" if behind else forward,
        remote=remote_command(site, paths, gears, job=job),
    )


def remote_command(site: Site, paths: RunDir, gears: str, *, job: bool = False) -> str:
    """Return what the lab host runs.

    Where it does not share our home, and so our profiles, the resolved one is handed over; with a job always, since the
    command line may have changed it.

    Every word is safe in any login shell, and none is secret: processes' arguments can be read by all users of a host.
    """
    command = f"{gears} _serve {site.name} --local {paths.local} --dir {site.lab.directory}"
    if site.envs.default:
        command += f" --env {site.envs.default}"
    if job:
        return f"{command} --job --profile {hand_over(site)}"
    return command if site.lab.home == "shared" else f"{command} --profile {hand_over(site)}"
