"""All paths that gears uses; no other module defines one. Pure: `system.files` accesses the disk.

In the home, the same on every host that shares it      On local disk, the same name on every host
    run/<site>.sck   → never-changing link ───────────▶  <local>/<site>.sck  → switched link, to one of
    run/<site>/        records, logs, token              <local>/<site>.{wait,hop,lab}.*.sck
    run/id             the unguessable part of <local>   <local>/<site>/      locks, fifos, scripts, runtime/
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gears.errors import UnsafePath

MAX_SOCKET_PATH = 107
"""Bytes in `sockaddr_un.sun_path` on Linux, less the closing NUL (unix(7))."""

MAX_FORWARD_PATH = 103
"""Longest socket path that OpenSSH forwards to: `ssh -L` rejects 105 bytes (measured), macOS has 104 with the NUL."""

CONTROL_SUFFIX = "." + "x" * 16
"""What ssh appends to ControlPath while it creates the socket."""

KERNEL_SOCKET_SUFFIX = "/kernel-01234567-89ab-cdef-0123-456789abcdef-ipc-5"
"""What jupyter_client appends to JUPYTER_RUNTIME_DIR for a kernel's ipc sockets."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """The paths of one site. `home` is $GEARS_HOME; `local` the host-local directory."""

    home: Path
    site: str
    local: Path

    # --- in the home -------------------------------------------------------------------------
    @property
    def run(self) -> Path:
        """Return the directory in the home for the files of all sites."""
        return self.home / "run"

    @property
    def pages(self) -> Path:
        """Return the directory for compressed copies of the files that JupyterLab's page loads, for all sites."""
        return self.run / "pages"

    @property
    def globus_tokens(self) -> Path:
        """Return the file of the user's tokens for Globus, 0600, for all sites."""
        return self.run / "globus.json"

    @property
    def fixed(self) -> Path:
        """Return the fixed path, to which the laptop's stanza forwards."""
        return self.run / f"{self.site}.sck"

    @property
    def records(self) -> Path:
        """Return the site's directory in the home: its records, logs and token."""
        return self.run / self.site

    @property
    def lab_record(self) -> Path:
        """Return the copy of `lab_here` in the home, for all hosts that share it."""
        return self.records / "lab.json"

    @property
    def state(self) -> Path:
        """Return the record of the site's status, by the keeper.

        It is the front's view: the lab host of a relay has its own in `here`.
        """
        return self.records / "state.json"

    @property
    def pin(self) -> Path:
        """Return the record of the host behind a round-robin alias that is dialled again (`ssh.pin`)."""
        return self.records / "pin.json"

    @property
    def token(self) -> Path:
        """Return the file with JupyterLab's token, which jupyter_server reads verbatim (`files.ensure_secret`)."""
        return self.records / "token"

    @property
    def cookie_secret(self) -> Path:
        """Return the file of JupyterLab's cookie secret.

        In the home, so that a browser stays logged in when the lab moves to another host.
        """
        return self.records / "cookie-secret"

    @property
    def places(self) -> Path:
        """Return the file with the places of the site, for notebooks (`known_places`)."""
        return self.records / "places.json"

    def log(self, what: str) -> Path:
        """Return a log in the home. `what`: lab, hop, job (its loop) or keeper."""
        return self.records / f"{what}.log"

    @property
    def job_record(self) -> Path:
        """Return the record of the site's job as last seen. It exists while JupyterLab is, or should be, a job."""
        return self.records / "job.json"

    @property
    def job_script(self) -> Path:
        """Return the script of the last job, submitted or refused."""
        return self.records / "job.sh"

    def job_log(self, number: int) -> Path:
        """Return the output of the job with this number (gears' own, not the scheduler's id)."""
        return self.records / f"job.{number}.log"

    def job_out(self, number: int) -> Path:
        """Return the file for the scheduler's own output: some schedulers deliver a job's output only at its end."""
        return self.records / f"job.{number}.out"

    def job_life(self, number: int) -> Path:
        """Return the file with one line per event of a job, written by the job itself.

        The process that creates the file claims the number.
        """
        return self.records / f"job.{number}.life"

    def job_meet(self, number: int) -> Path:
        """Return the file that names the host to which the job's reverse tunnel connects."""
        return self.records / f"job.{number}.meet"

    @property
    def transfers(self) -> Path:
        """Return the directory with a directory for each transfer of data."""
        return self.records / "data"

    def transfer(self, name: str) -> Path:
        """Return the directory of a transfer: its records, manifest, log and job script (`gears.data.records`)."""
        return self.transfers / name

    # --- the variables of notebooks ------------------------------------------------------------
    @property
    def states(self) -> Path:
        """Return the directory in the home for saved variables, where the site has no scratch for them."""
        return self.records / "states"

    @property
    def states_record(self) -> Path:
        """Return the record of where variables are saved, and what was saved last (`lab.saved_states`)."""
        return self.records / "states.json"

    @property
    def states_request(self) -> Path:
        """Return the file by which a command asks the lab to save; the lab removes it when it begins."""
        return self.records / "states.request"

    @property
    def states_answer(self) -> Path:
        """Return the lab's answer to the last request."""
        return self.records / "states.answer"

    # --- on a laptop, while `gears open` runs there -------------------------------------------
    @property
    def opened(self) -> Path:
        """Return the record of the port of `gears open`, for the next `gears open`."""
        return self.records / "open.json"

    @property
    def open_page(self) -> Path:
        """Return the page for the browser: it redirects to the address with the token, which is on no command line."""
        return self.records / "open.html"

    @property
    def open_lock(self) -> Path:
        """Return the lock of a running `gears open`: another one only opens its address."""
        return self.local / f"{self.site}.open"

    @property
    def open_config(self) -> Path:
        """Return ssh's configuration for the connection to the front; rewritten for each dial."""
        return self.local / f"{self.site}.open.conf"

    def open_control(self, number: int) -> Path:
        """Return the control socket over which the port is forwarded (ssh(1): -O forward). A new name for each dial."""
        return self.local / f"{self.site}.open.{number}.ctl"

    # --- the user's sessions -----------------------------------------------------------------
    @property
    def shell_record(self) -> Path:
        """Return the record of the login node that has the shell session of this site."""
        return self.records / "shell.json"

    @property
    def shell_start(self) -> Path:
        """Return the file that bash reads at the start of that shell."""
        return self.records / "shell.rc"

    @property
    def runs(self) -> Path:
        """Return the directory with the files of `gears run`."""
        return self.records / "runs"

    def run_file(self, number: int, what: str) -> Path:
        """Return a file of a run. `what`: json (its record), sh, pid, out or end (its exit status)."""
        return self.runs / f"{number}.{what}"

    # --- the Dask cluster of this site -------------------------------------------------------
    @property
    def dask(self) -> Path:
        """Return the directory in the home for the files of the cluster."""
        return self.records / "dask"

    @property
    def dask_config(self) -> Path:
        """Return the directory in DASK_CONFIG, in the lab, in shells and in workers' jobs."""
        return self.dask / "config"

    def dask_file(self, what: str) -> Path:
        """Return a file of the cluster.

        `what`: cluster.json (its record, by its owner), wanted.json (for its owner), plan.json, prefix, addresses,
        owner.sh, owner.log, loop.
        """
        return self.dask / what

    @property
    def dask_lock(self) -> Path:
        """Return the lock of a cluster start on this host; each host has its own."""
        return self.local / f"{self.site}.dask"

    @property
    def dask_names(self) -> Path:
        """Return the directory with one file per cluster whose jobs may still exist, named after the jobs."""
        return self.dask / "names"

    @property
    def dask_tls(self) -> Path:
        """Return the file with key and certificate of all the user's schedulers, workers and clients."""
        return self.dask / "tls.pem"

    @property
    def dask_published(self) -> Path:
        """Return the configuration with which a bare `Client()` finds the cluster. It exists only while that is up."""
        return self.dask_config / "10-cluster.yaml"

    # --- on this host ------------------------------------------------------------------------
    @property
    def link(self) -> Path:
        """Return the switched link: the target of the fixed path and of the hop before this host."""
        return self.local / f"{self.site}.sck"

    def control(self, what: str) -> Path:
        """Return the control socket of a loop's ssh. Short, since ssh appends CONTROL_SUFFIX."""
        return self.local / f"{self.site}.{what}.c.sck"

    def socket(self, what: str, number: int) -> Path:
        """Return a real socket, with a name used once. `what`: wait (number: pid), hop, job or lab (number: turn)."""
        return self.local / f"{self.site}.{what}.{number}.sck"

    @property
    def held(self) -> Path:
        """Return the waiting page's socket, held open by the hop's loop (`lab.supervisor.held_socket`)."""
        return self.socket("wait", 0)

    @property
    def here(self) -> Path:
        """Return the site's directory on local disk: locks, fifos, scripts, `runtime`."""
        return self.local / self.site

    @property
    def envs_here(self) -> Path:
        """Return the directory for copies of packed environments on a compute node, for all sites.

        Not a valid site name.
        """
        return self.local / ".envs"

    @property
    def runtime(self) -> Path:
        """Return JUPYTER_RUNTIME_DIR. Its length is checked (`check_lengths`), since it has the kernels' sockets."""
        return self.here / "runtime"

    @property
    def lab_here(self) -> Path:
        """Return the lab's record on its own host; `lab_record` is the copy in the home."""
        return self.here / "lab.json"

    @property
    def loop(self) -> Path:
        """Return the file with pid and start time of the shell loop, written by the loop itself."""
        return self.here / "loop"

    @property
    def route(self) -> Path:
        """Return the record of the profile and the route of the loop on this host (`context.RouteRecord`)."""
        return self.here / "route.json"

    @property
    def turn(self) -> Path:
        """Return the record of the loop's turn (`state.Turn`)."""
        return self.here / "turn.json"

    @property
    def up(self) -> Path:
        """Return the keeper's record of a connection that came up: its turn, since when, how many so far."""
        return self.here / "up.json"

    def redial(self, number: int) -> Path:
        """Return the line for the loop, should the connection of this turn be lost (`lab.supervisor.step`)."""
        return self.here / f"redial.{number}"

    def redial_turn(self, number: int) -> Path:
        """Return the record of the turn that the loop begins then."""
        return self.here / f"redial.{number}.json"

    @property
    def given_up(self) -> Path:
        """Return the record of why the keeper ended an ssh: its prompt timed out, or forwards are forbidden."""
        return self.here / "given-up.json"

    @property
    def keeper(self) -> Path:
        """Return the file that the keeper locks while it runs, with its pid and start time."""
        return self.here / "keeper"

    @property
    def start_lock(self) -> Path:
        """Return the lock of a start or a stop of the site on this host (`files.locked`)."""
        return self.local / f"{self.site}.lock"

    @property
    def ask(self) -> Path:
        """Return the fifo on which the loop waits for the user. It has a reader only during that wait."""
        return self.here / "ask"

    @property
    def hop_in(self) -> Path:
        """Return the fifo that is the standard input of the hop's remote command."""
        return self.here / "hop.in"

    @property
    def hop_out(self) -> Path:
        """Return the output of the hop's remote command in this turn: its reports (`gears.ssh.report`)."""
        return self.here / "hop.out"

    @property
    def hop_err(self) -> Path:
        """Return the standard error of the hop's ssh and remote command in this turn: it explains why ssh ended."""
        return self.here / "hop.err"

    def meet_fifo(self, number: int | str) -> Path:
        """Return the fifo that the reverse tunnel of a job holds open on its target host. `number`: or a variable."""
        return self.here / f"meet.{number}"

    @property
    def remote_ends(self) -> Path:
        """Return the directory with one file per hop to this host: pid and start time of its remote command."""
        return self.here / "remote"

    def script(self, what: str) -> Path:
        """Return a loop's script on this host. `what`: hop, job or lab."""
        return self.here / f"{what}.sh"


LONGEST_USER = 23
"""Characters of the user name in the host-local directory; with more, kernels' socket paths would be too long."""


def plan_local(base: str, user: str, identifier: str) -> Path:
    """Return the host-local directory: the same name on every host, with an unguessable random part."""
    short = user if len(user) <= LONGEST_USER else user[:16]
    return Path(base) / f"gears-{re.sub('[^A-Za-z0-9._@+-]', '_', short)}-{identifier}"  # user: DOMAIN\\name, too


def check_lengths(paths: RunDir) -> None:
    """Reject paths that the kernel, ssh or Jupyter would reject later, after a passcode was used. Raises UnsafePath."""
    limits = [
        (paths.fixed, MAX_FORWARD_PATH, "move gears to a shorter path, or set GEARS_HOME"),
        (paths.socket("wait", 4194304), MAX_FORWARD_PATH, "set `local` in the site's profile to a shorter directory"),
        (
            Path(f"{paths.control('hop')}{CONTROL_SUFFIX}"),
            MAX_FORWARD_PATH,
            "set `local` in the site's profile to a shorter directory",
        ),
        (
            Path(f"{paths.runtime}{KERNEL_SOCKET_SUFFIX}"),
            MAX_SOCKET_PATH,
            "set `local` in the site's profile to a shorter directory",
        ),
    ]
    for path, limit, fix in limits:
        if (length := len(os.fsencode(path))) > limit:
            raise UnsafePath(f"{path} is {length} bytes long; the limit for a socket path is {limit}", next=fix)
