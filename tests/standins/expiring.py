"""A stand-in for S3 with credentials that expire: passes requests on to a real server, and refuses all after a while.

The answer is that of the list of error codes in the API reference of Amazon S3.
"""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EXPIRED = b"""\
<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><RequestId>x</RequestId></Error>"""


class Expiring:
    """`valid_for`: so many requests more are passed on; -1: all. `refused`: how many were not."""

    def __init__(self, port: int) -> None:
        self.valid_for, self.refused = -1, 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if service.valid_for == 0:
                    service.refused += 1
                    self.reply(400, {"Content-Type": "application/xml"}, EXPIRED)
                    return
                service.valid_for -= 1
                server = http.client.HTTPConnection("127.0.0.1", port)
                server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    server.putheader(name, value)
                server.endheaders(body)
                with server.getresponse() as answer:
                    self.reply(answer.status, dict(answer.headers), answer.read())
                server.close()

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815  the names that http.server wants

            def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
