"""The dashboard of a Dask scheduler, as far as it is recognised by: what distributed 2026.8 answered when it was asked.

distributed is in no lock file of ours. Usage: dask_dashboard.py NAME; prints its port.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

IDENTITY = {"type": "Scheduler", "id": f"Scheduler-{sys.argv[1]}", "address": "tcp://127.0.0.1:34567", "n_workers": 2}
ANSWERS = {
    "/health": ("text/plain; charset=utf-8", "ok"),
    "/json/identity.json": ("application/json; charset=UTF-8", json.dumps(IDENTITY)),
    "/status": ("text/html", f"<title>Dask Diagnostic UI</title>{sys.argv[1]}"),
}


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
    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    print(server.server_port, flush=True)
    server.serve_forever()
