"""Find the user's Jupyter servers and Dask dashboards on a remote host; run by its python3 (3.6 or newer).

Jupyter servers are found by their own records, in every directory where a process of the user may keep them. A record
counts only if its process is alive, belongs to the user, listens there and answers. Dask schedulers keep no record:
each port on which a Python of the user listens is asked. Prints one line of JSON and waits for the connection to end.

Standard library only: gears need not be installed there. Linux: /proc/net/tcp, /proc/PID/fd (proc(5)).
"""

import glob
import http.client
import json
import os
import re
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

ANSWER_S = 3.0
GREETING_S = 1.0
MOST_AT_ONCE = 50
RECORDS = ("jpserver-*.json", "nbserver-*.json")
DIRECTORIES = (
    ("JUPYTER_RUNTIME_DIR", ""),
    ("JUPYTER_DATA_DIR", "runtime"),
    ("XDG_DATA_HOME", "jupyter/runtime"),
    ("XDG_RUNTIME_DIR", "jupyter"),  # before jupyter_core 5
    ("HOME", ".local/share/jupyter/runtime"),
)


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self.path)


def user_processes() -> "list[int]":
    """List the process ids of the user."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat("/proc/" + name).st_uid == os.getuid():
                found.append(int(name))
        except OSError:
            pass
    return found


def environment(pid: int) -> "dict[str, str]":
    """Read the variables of a process; {} if they can't be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def runtime_directories(pids: "list[int]") -> "list[str]":
    """List the directories where the user's Jupyter servers may keep their records."""
    found = set()
    for variables in [dict(os.environ)] + [environment(pid) for pid in pids]:
        for name, below in DIRECTORIES:
            if variables.get(name, "").startswith("/"):
                found.add(os.path.join(variables[name], below).rstrip("/"))
    return sorted(found)


def listeners() -> "dict[str, tuple[str, int]]":
    """Map the inode of each listening TCP socket of the user to the address a forward has to dial."""
    found = {}
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/net/" + name) as file:
                lines = file.read().splitlines()[1:]
        except OSError:
            continue
        for words in map(str.split, lines):
            if words[3] == "0A" and int(words[7]) == os.getuid():
                address, port = words[1].split(":")
                found[words[9]] = (dialled(address), int(port, 16))
    return found


def dialled(address: str) -> str:
    """Convert an address of /proc/net/tcp (32-bit words in host byte order); a wildcard becomes the loopback."""
    words = [int(address[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(address), 8)]
    packed = b"".join(words)
    text = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(text, text)


def sockets_of(pid: int) -> "set[str]":
    """List the inodes of a process's sockets."""
    found = set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{name}")
            found.update(re.findall(r"^socket:\[(\d+)\]$", link))
    except OSError:
        pass
    return found


def connection_to(target: "str | tuple[str, int]", secure: bool) -> http.client.HTTPConnection:
    """Create a connection to the path of a socket, or to an address and port."""
    if isinstance(target, str):
        return UnixConnection(target)
    if not secure:
        return http.client.HTTPConnection(target[0], target[1], timeout=ANSWER_S)
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE  # the browser checks it
    return http.client.HTTPSConnection(target[0], target[1], timeout=ANSWER_S, context=trusting)


def ask(target: "str | tuple[str, int]", path: str, secure: bool = False) -> "dict[str, object]":
    """Return the JSON object that a server answers with; {} if it does not answer."""
    connection = connection_to(target, secure)
    try:
        connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
        reply = connection.getresponse()
        found = json.loads(reply.read(1000000).decode()) if reply.status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}


def read_record(file: str) -> "dict[str, object]":
    """Read a record that belongs to the user; {} if it can't be read."""
    try:
        if os.stat(file).st_uid != os.getuid():
            return {}
        with open(file) as opened:
            found = json.load(opened)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def jupyter(file: str, pids: "list[int]", ports: "dict[str, tuple[str, int]]") -> "dict[str, object] | None":
    """Return the server of a record, if it is running on this host."""
    record = read_record(file)
    pid, base, path = record.get("pid"), str(record.get("base_url") or "/"), str(record.get("sock") or "")
    if pid not in pids:
        return None
    near = [ports[inode] for inode in sockets_of(int(pid)) if inode in ports and ports[inode][1] == record.get("port")]
    if not (path or near):
        return None
    target = path if path else sorted(near)[0]
    secure = bool(record.get("secure"))
    if "version" not in ask(target, base + "api", secure):
        return None
    return {
        "kind": "jupyter",
        "target": lasting(target, base, os.path.dirname(file)),
        "listens": target,
        "path": base,
        "secure": secure,
        "token": str(record.get("token") or ""),
        "about": str(record.get("root_dir") or record.get("notebook_dir") or ""),
        "open": bool(near and ask(target, base + "api/contents?content=0", secure)),
        "pid": pid,
    }


def lasting(target: "str | tuple[str, int]", base: str, runtime: str) -> "str | tuple[str, int]":
    """Prefer the link to a lab of gears, which stays the same: port and socket change at each start."""
    link = os.path.dirname(runtime) + ".sck"
    ours = os.path.basename(runtime) == "runtime" and os.path.islink(link)
    return link if ours and "version" in ask(link, base + "api") else target


def dask(target: "tuple[str, int]", pid: int) -> "dict[str, object] | None":
    """Return the scheduler at `target`, if it is one: it identifies itself (distributed/http/scheduler/json.py), which
    a worker does not."""
    if speaks_first(target):
        return None
    prefix = secret_prefix(pid, target[1])
    identity = ask(target, ("/" + prefix if prefix else "") + "/json/identity.json")
    if identity.get("type") != "Scheduler" and not (prefix and "workers" in identity):  # a subclass, of gears
        return None
    workers = identity.get("workers")
    count = identity.get("n_workers", len(workers) if isinstance(workers, dict) else 0)
    about = f"{identity.get('address')}, workers: {count}"
    return {"kind": "dask", "target": target, "path": "/status", "token": prefix, "about": about, "pid": pid}


def secret_prefix(pid: int, port: int) -> str:
    """Read the prefix of all pages of a cluster of gears, from the record next to its plan."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            plan = os.fsdecode(file.read().rstrip(b"\0").rpartition(b"\0")[2])
    except OSError:
        return ""
    record = read_record(os.path.join(os.path.dirname(plan), "cluster.json")) if plan.endswith("/plan.json") else {}
    dashboard = record.get("dashboard")
    if not isinstance(dashboard, dict) or record.get("pid") != pid or dashboard.get("port") != port:
        return ""
    return str(dashboard.get("prefix") or "")


def runs_python(pid: int) -> bool:
    """Return whether a process runs Python, by the name of its program."""
    try:
        return re.search("python|pypy", os.path.basename(os.readlink(f"/proc/{pid}/exe"))) is not None
    except OSError:
        return False


def find_jupyters(pids: "list[int]", ports: "dict[str, tuple[str, int]]") -> "list[dict[str, object]]":
    """Find the user's Jupyter servers by their records."""
    found: dict[str, dict[str, object]] = {}
    for directory in runtime_directories(pids):
        for pattern in RECORDS:
            for file in sorted(glob.glob(os.path.join(glob.escape(directory), pattern))):
                server = jupyter(file, pids, ports)
                if server:  # some servers write a record of each kind
                    found.setdefault(str(server["listens"]), server)
    return list(found.values())


def speaks_first(target: "tuple[str, int]") -> bool:
    """Return whether the server sends first, or is gone. Then it does not speak HTTP, and a request could harm it.

    Dask's protocol sends first, and would read a request as the length of a message: 7 EiB, and a MemoryError.
    """
    try:
        with socket.create_connection(target, timeout=ANSWER_S) as connection:
            connection.settimeout(GREETING_S)
            connection.recv(1)
    except socket.timeout:  # noqa: UP041  not a TimeoutError before Python 3.10
        return False
    except OSError:
        pass
    return True


def find_dasks(pids: "list[int]", ports: "dict[str, tuple[str, int]]", known: "set[str]") -> "list[dict[str, object]]":
    """Find the user's Dask schedulers, at ports that are not `known`."""
    owners = {}
    for pid in filter(runs_python, pids):
        for inode in sockets_of(pid).intersection(ports):
            if str(ports[inode]) not in known:
                owners[ports[inode]] = pid
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:  # in parallel, since each may take GREETING_S
        found = pool.map(dask, sorted(owners), [owners[target] for target in sorted(owners)])
        return [server for server in found if server]


def find() -> "list[dict[str, object]]":
    """Find all servers of the user."""
    pids, ports = user_processes(), listeners()
    jupyters = find_jupyters(pids, ports)
    return jupyters + find_dasks(pids, ports, {str(server["listens"]) for server in jupyters})


if __name__ == "__main__":
    report = {"host": socket.gethostname(), "servers": find()}
    sys.stdout.write("\n" + json.dumps({"gears": report}, separators=(",", ":")) + "\n")
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execvp("cat", ["cat"])  # a small process that exits when the connection ends
