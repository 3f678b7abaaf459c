"""The dashboard of a Dask scheduler, as far as it is recognised by: what distributed 2026.8 answered when it was asked.

distributed is in no lock file of ours. Usage: dask_dashboard.py NAME; prints its port. Like a scheduler it has a second
port, with a protocol of its own, that greets whoever connects; a request there spoils the dashboard.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

IDENTITY = {"type": "Scheduler", "id": f"Scheduler-{sys.argv[1]}", "address": "tcp://127.0.0.1:34567", "n_workers": 2}
ANSWERS = {
    "/health": ("text/plain; charset=utf-8", "ok"),
    "/json/identity.json": ("application/json; charset=UTF-8", json.dumps(IDENTITY)),
    "/status": ("text/html", f"<title>Dask Diagnostic UI</title>{sys.argv[1]}"),
}


class Comm(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write((2).to_bytes(8, "little"))
        if self.rfile.read(1):
            ANSWERS["/status"] = ("text/html", "spoilt")


class Dashboard(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind, text = ANSWERS.get(self.path, ("text/html", ""))
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    comm = ThreadingTCPServer(("127.0.0.1", 0), Comm)
    Thread(target=comm.serve_forever, daemon=True).start()
    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    print(server.server_port, flush=True)
    server.serve_forever()
