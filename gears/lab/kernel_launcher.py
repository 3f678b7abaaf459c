"""Start ipykernel as `python -m ipykernel_launcher` does, but with the pipe for its forked children on an ipc socket.

Run by the kernel's own Python, of any environment and version, so it imports no gears. See `lab/jupyter/kernels.py`.
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
kernelapp.launch_new_instance()
