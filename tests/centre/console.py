"""The `centre` command in the shell of `make centre`: what only the machine room can do, asked for from the laptop."""

import shlex
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.centre import network
from tests.centre.accounts import ACCOUNTS
from tests.centre.centre import Centre
from tests.centre.host import Host

HELP = """\
centre hosts                  which are on
centre cut HOST [NETWORK]     part its link (NETWORK: inside or outside); nobody is told
centre heal HOST [NETWORK]    join it again
centre off HOST               pull its plug
centre boot HOST              switch it on again
centre end-sessions HOST      end your ssh sessions there, as a jump host's time limit does
centre passcode               what your phone shows now
centre order HOST…            where the alias andes leads, first one first
centre fail-scheduler         shut the scheduler down
centre mend-scheduler         start it again
centre browse [PORT]          let http://localhost:PORT (38888) of the machine outside lead to the laptop's 38888
centre root HOST              the command that opens a root shell there, for a terminal outside
"""
SOCKET = "/run/centre.sock"
CLIENT_FILE = "etc/gears-centre/client.py"
CLIENT = f"""\
import shlex, socket, sys
centre = socket.socket(socket.AF_UNIX)
centre.connect({SOCKET!r})
centre.sendall(shlex.join(sys.argv[1:]).encode())
centre.shutdown(socket.SHUT_WR)
print(centre.makefile().read(), end="")
"""
PROFILE = f'centre() {{ /usr/bin/python3 /{CLIENT_FILE} "$@"; }}\n'
LAPTOP_PORT = "38888"


class Console:
    """Answers one line with text; never raises for what a person typed."""

    def __init__(self, centre: Centre) -> None:
        self._centre = centre
        self._commands: dict[str, Callable[..., str | None]] = {
            "hosts": self._hosts,
            "cut": lambda host, *networks: self._host(host).cut(*networks),
            "heal": lambda host, *networks: self._host(host).heal(*networks),
            "off": self._off,
            "boot": lambda host: self._host(host).boot(),
            "end-sessions": lambda host: self._host(host).kill_sessions("alice"),
            "passcode": lambda: centre.passcode("alice"),
            "order": lambda *hosts: centre.order(network.ROUND_ROBIN, [self._host(host).name for host in hosts]),
            "fail-scheduler": centre.fail_scheduler,
            "mend-scheduler": centre.mend_scheduler,
            "browse": self._browse,
            "root": lambda host: shlex.join(self._host(host).enter(["bash", "-l"], ACCOUNTS["root"])),
        }

    def answer(self, line: str) -> str:
        words = shlex.split(line)
        if not words or words[0] not in self._commands:
            return HELP
        try:
            return (self._commands[words[0]](*words[1:]) or "done") + "\n"
        except TypeError:
            return HELP  # too many words, or too few
        except (KeyError, RuntimeError, TimeoutError, ValueError) as error:
            return f"centre: {error}\n"

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Answer in the background, and put the `centre` command into the laptop's shells."""
        console, laptop = self, self._centre.laptop
        laptop.path(CLIENT_FILE).write_text(CLIENT)
        laptop.path("etc/profile.d/centre.sh").write_text(PROFILE)

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(console.answer(self.rfile.read().decode()).encode())

        with socketserver.UnixStreamServer(str(laptop.path(SOCKET)), Handler) as server:
            laptop.path(SOCKET).chmod(0o666)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield
            server.shutdown()

    def _host(self, name: str) -> Host:
        if name not in self._centre.hosts:
            raise ValueError(f"no such host: {name} (there are {', '.join(self._centre.hosts)})")
        return self._centre.hosts[name]

    def _hosts(self) -> str:
        return "\n".join(f"{name:8}{'on' if host.pid else 'off'}" for name, host in self._centre.hosts.items())

    def _off(self, name: str) -> None:
        if name == "laptop":
            raise ValueError("you sit at the laptop")
        self._host(name).power_off()

    def _browse(self, port: str = LAPTOP_PORT) -> str:
        self._centre.forward_port(int(port), int(LAPTOP_PORT))
        return (
            f"http://localhost:{port} of the machine outside now leads to the laptop's {LAPTOP_PORT}, until you leave"
        )


def names(text: str) -> Sequence[str]:
    """A comma-separated list of hosts from the command line."""
    found = [name for name in text.split(",") if name]
    if unknown := set(found) - set(network.ADDRESSES):
        raise ValueError(f"no such host: {', '.join(sorted(unknown))}")
    return found
