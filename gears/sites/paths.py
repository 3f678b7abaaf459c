"""Every path gears uses, and no other module invents one. Pure: nothing here touches a disk (`system.files` does).

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
"""Longest socket path OpenSSH forwards: `ssh -L` refused 105 bytes and more when tried, macOS has 104 with the NUL."""

CONTROL_SUFFIX = "." + "x" * 16
"""What ssh appends to ControlPath while it makes the socket."""

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
        """Return the directory in the home with all that is of every site."""
        return self.home / "run"

    @property
    def fixed(self) -> Path:
        """Return the fixed path: what the laptop's stanza names."""
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
        """Return the record in which the keeper leaves the site's status.

        The front's view: the lab host of a relay keeps its own in `here`.
        """
        return self.records / "state.json"

    @property
    def pin(self) -> Path:
        """Return the record of which host of a round-robin alias answered, and is dialled from then on."""
        return self.records / "pin.json"

    @property
    def token(self) -> Path:
        """Return the file with JupyterLab's token, which jupyter_server reads as it stands (`files.ensure_secret`)."""
        return self.records / "token"

    @property
    def cookie_secret(self) -> Path:
        """Return the file of JupyterLab's cookie secret.

        In the home, so that a browser stays logged in when the lab moves to another host.
        """
        return self.records / "cookie-secret"

    def log(self, what: str) -> Path:
        """Return a log in the home: `what` is lab, hop, job (its loop) or keeper."""
        return self.records / f"{what}.log"

    @property
    def job_record(self) -> Path:
        """Return the record of this site's job, as it was last seen. There while JupyterLab is, or should be, a job."""
        return self.records / "job.json"

    @property
    def job_script(self) -> Path:
        """Return the script of the job that was submitted last, or refused."""
        return self.records / "job.sh"

    def job_log(self, number: int) -> Path:
        """Return the file with what the job with this number of ours printed."""
        return self.records / f"job.{number}.log"

    def job_out(self, number: int) -> Path:
        """Return the file for what the scheduler has to say besides: some bring a job's output only once it is over."""
        return self.records / f"job.{number}.out"

    def job_life(self, number: int) -> Path:
        """Return the file with a line per event of a job's life, written by the job itself.

        Who makes the file may submit that number.
        """
        return self.records / f"job.{number}.life"

    def job_meet(self, number: int) -> Path:
        """Return the file that names the host where the job's reverse tunnel is to go."""
        return self.records / f"job.{number}.meet"

    # --- on a laptop, while `gears open` runs there -------------------------------------------
    @property
    def opened(self) -> Path:
        """Return the record of the port that `gears open` has, for the next `gears open`."""
        return self.records / "open.json"

    @property
    def open_page(self) -> Path:
        """Return the page the browser is given: it leads to the address, token and all, which no command line shows."""
        return self.records / "open.html"

    @property
    def open_lock(self) -> Path:
        """Return the lock of the `gears open` that runs here: another one only opens its address."""
        return self.local / f"{self.site}.open"

    @property
    def open_config(self) -> Path:
        """Return ssh's configuration for the way to the front; written anew for each dial."""
        return self.local / f"{self.site}.open.conf"

    def open_control(self, number: int) -> Path:
        """Return where our own ssh is told to forward the port (ssh(1): -O forward). A new name at each dial."""
        return self.local / f"{self.site}.open.{number}.ctl"

    # --- a person's own sessions -------------------------------------------------------------
    @property
    def shell_record(self) -> Path:
        """Return the record of the login node on which the shell of this site is."""
        return self.records / "shell.json"

    @property
    def shell_start(self) -> Path:
        """Return the file that bash reads when that shell starts."""
        return self.records / "shell.rc"

    @property
    def runs(self) -> Path:
        """Return the directory with the files of `gears run`."""
        return self.records / "runs"

    def run_file(self, number: int, what: str) -> Path:
        """Return a file of the command with this number.

        `what` is json (its record), sh, pid, out or end (its exit status).
        """
        return self.runs / f"{number}.{what}"

    # --- the Dask cluster of this site -------------------------------------------------------
    @property
    def dask(self) -> Path:
        """Return the directory in the home with all that is of the cluster."""
        return self.records / "dask"

    @property
    def dask_config(self) -> Path:
        """Return the directory that DASK_CONFIG names in the lab, in shells and in workers' jobs."""
        return self.dask / "config"

    def dask_file(self, what: str) -> Path:
        """Return a file of the cluster.

        `what`: cluster.json (its record, by its owner), wanted.json (for its owner), plan.json, prefix, addresses,
        owner.sh, owner.log, loop.
        """
        return self.dask / what

    @property
    def dask_lock(self) -> Path:
        """Return the lock that a start of the cluster holds on this host; another host has its own."""
        return self.local / f"{self.site}.dask"

    @property
    def dask_names(self) -> Path:
        """Return the directory with a file for each cluster whose jobs may not all be gone, called as they are."""
        return self.dask / "names"

    @property
    def dask_tls(self) -> Path:
        """Return key and certificate of every scheduler, worker and client of hers, in one file."""
        return self.dask / "tls.pem"

    @property
    def dask_published(self) -> Path:
        """Return the configuration by which a bare `Client()` finds the cluster: there only while it is up."""
        return self.dask_config / "10-cluster.yaml"

    # --- on this host ------------------------------------------------------------------------
    @property
    def link(self) -> Path:
        """Return the switched link: the target of the fixed path and of the hop before this host."""
        return self.local / f"{self.site}.sck"

    def control(self, what: str) -> Path:
        """Return where the ssh of a loop is told of its forward. Short: CONTROL_SUFFIX comes to it."""
        return self.local / f"{self.site}.{what}.c.sck"

    def socket(self, what: str, number: int) -> Path:
        """Return a real socket, under a name used once: what is wait (number: pid), hop, job or lab (number: turn)."""
        return self.local / f"{self.site}.{what}.{number}.sck"

    @property
    def held(self) -> Path:
        """Return the waiting page's socket that the hop's loop holds open (`lab.supervisor.held_socket`)."""
        return self.socket("wait", 0)

    @property
    def here(self) -> Path:
        """Return the site's directory on local disk: locks, fifos, scripts, `runtime`."""
        return self.local / self.site

    @property
    def envs_here(self) -> Path:
        """Return the directory for copies of packed environments on a compute node, for all sites.

        No site can be called so.
        """
        return self.local / ".envs"

    @property
    def runtime(self) -> Path:
        """Return JUPYTER_RUNTIME_DIR: kernels' sockets are in it, so its length is checked (`check_lengths`)."""
        return self.here / "runtime"

    @property
    def lab_here(self) -> Path:
        """Return the lab's record on the host it runs on; `lab_record` is its copy in the home."""
        return self.here / "lab.json"

    @property
    def loop(self) -> Path:
        """Return the file with pid and start time of the shell loop, written by the loop itself."""
        return self.here / "loop"

    @property
    def route(self) -> Path:
        """Return the record of the resolved profile and route that the loop on this host was started with."""
        return self.here / "route.json"

    @property
    def turn(self) -> Path:
        """Return the record of the loop's turn (`state.Turn`)."""
        return self.here / "turn.json"

    @property
    def up(self) -> Path:
        """Return the record of a way that came up, by the keeper: its turn's number, since when, how many before it."""
        return self.here / "up.json"

    @property
    def given_up(self) -> Path:
        """Return the record of why the keeper ended an ssh: nobody answered its prompt, or forwards are forbidden."""
        return self.here / "given-up.json"

    @property
    def keeper(self) -> Path:
        """Return the file that the keeper locks while it lives; it holds its pid and start time."""
        return self.here / "keeper"

    @property
    def start_lock(self) -> Path:
        """Return the lock that a start or a stop of the site on this host holds (`files.locked`)."""
        return self.local / f"{self.site}.lock"

    @property
    def ask(self) -> Path:
        """Return a fifo: the loop waits here for a person. It has a reader only while one is wanted."""
        return self.here / "ask"

    @property
    def hop_in(self) -> Path:
        """Return a fifo: the standard input of the hop's remote command."""
        return self.here / "hop.in"

    @property
    def hop_out(self) -> Path:
        """Return the file with what the hop's remote command prints in this turn: its reports (`gears.ssh.report`)."""
        return self.here / "hop.out"

    @property
    def hop_err(self) -> Path:
        """Return the file with what the hop's ssh and its remote command say in this turn: it tells why ssh ended."""
        return self.here / "hop.err"

    @property
    def meet_fifo(self) -> Path:
        """Return a fifo that a reverse tunnel holds open on the host it leads to."""
        return self.here / "meet"

    @property
    def remote_ends(self) -> Path:
        """Return the directory with one file per hop that ends here: pid and start time of its remote command."""
        return self.here / "remote"

    def script(self, what: str) -> Path:
        """Return the script of that name on this host: hop, job or lab, a loop each."""
        return self.here / f"{what}.sh"


LONGEST_USER = 23
"""With more of it in the host-local directory, the sockets of kernels would have too long a path."""


def plan_local(base: str, user: str, identifier: str) -> Path:
    """Return the host-local directory: the same name on every host, unguessable by its random part."""
    short = user if len(user) <= LONGEST_USER else user[:16]
    return Path(base) / f"gears-{re.sub('[^A-Za-z0-9._@+-]', '_', short)}-{identifier}"  # user: DOMAIN\\name, too


def check_lengths(paths: RunDir) -> None:
    """Refuse paths that the kernel, ssh or Jupyter would refuse later, when a passcode has been spent.

    Raises UnsafePath, with the path and the fix.
    """
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
