"""Start ipykernel as `python -m ipykernel_launcher` does, but with the pipe for its forked children on an ipc socket.

Run by the kernel's own Python, of any environment and version, so it imports no gears. See `lab/jupyter/kernels.py`.
Where the lab carries variables (`--carry`), it loads `gears/carry` by its path.
"""

import os
import sys
from typing import Any

if sys.path[0] == os.path.dirname(__file__):  # modules of gears would shadow others of the same name
    del sys.path[0]

import zmq
from ipykernel import iostream, kernelapp
from zmq.eventloop.zmqstream import ZMQStream


class IOPubThread(iostream.IOPubThread):
    """Overrides two methods that bind and connect the pipe; an ipykernel without them never calls ours."""

    def _setup_pipe_in(self) -> None:
        app = kernelapp.IPKernelApp.instance()
        directory = os.path.dirname(app.abs_connection_file)
        self._pipe_path = "ipc://" + os.path.join(directory, "pipe-" + str(os.getpid()))
        self._pipe_uuid = os.urandom(16)
        pipe = self.socket.context.socket(zmq.PULL)
        pipe.linger = 0
        pipe.bind(self._pipe_path)
        self._pipe_in = ZMQStream(pipe, self.io_loop)
        self._pipe_in.on_recv(self._handle_pipe_msg)

    def _setup_pipe_out(self) -> Any:
        context = zmq.Context()  # a context does not survive a fork
        pipe = context.socket(zmq.PUSH)
        pipe.linger = 3000
        pipe.connect(self._pipe_path)
        return context, pipe


kernelapp.IOPubThread = IOPubThread  # type: ignore[attr-defined]


def carry(app: Any) -> None:
    """Let this kernel save and load its variables. A failure is logged, and the kernel starts."""
    import importlib
    import importlib.util

    package = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "carry")
    try:
        spec: Any = importlib.util.spec_from_file_location(
            "_gears_carry", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
        )
        sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        importlib.import_module("_gears_carry.agent").begin(app)
    except Exception:
        app.log.exception("gears: the variables of this kernel are not carried")


app: Any = kernelapp.IPKernelApp.instance()
app.initialize()
if os.environ.get("GEARS_STATES") and app.subapp is None:
    carry(app)
app.start()
