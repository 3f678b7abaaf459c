"""A stand-in for the Transfer API of Globus, version 0.10: ls, mkdir, rename, transfer, delete and tasks.

Paths, documents and error codes are those of the API's documentation and of the documents in `globus_sdk.testing`. A
collection is a directory. As the service does, a transfer writes under the final name while it is active, and goes on
when nobody asks for it any more.

Faults, attributes of `Transfers`: `refuse`, (status, document) for every request; `silent`, no answer; `stuck`,
transfers that stay active without a byte; `fails`, a transfer ends with this status after a part of the file;
`valid_for`, so many requests are answered before `refusal`. With `at_once`, a task has ended when it is submitted.
`granted`: what the token endpoint answers; else it refuses. `keys`: of the signatures of identities, at Globus Auth.
"""

import json
import shutil
import threading
import time
import uuid
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Reply = tuple[int, dict[str, Any]]


class Transfers:
    def __init__(self, collections: dict[str, Path]) -> None:
        self.collections, self.tasks = collections, dict[str, dict[str, Any]]()
        self.requests: list[str] = []
        self.refuse: Reply | None = None
        self.granted: Reply = 400, {"error": "invalid_grant"}
        self.valid_for, self.refusal = -1, self.granted
        self.keys: list[dict[str, Any]] = []
        self.silent = self.stuck = self.at_once = False
        self.fails = ""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.requests.append(f"{self.command} {self.path}")
                while service.silent:
                    time.sleep(0.05)
                length = int(self.headers.get("Content-Length") or 0)
                given, parts = self.rfile.read(length), urlsplit(self.path)
                body = json.loads(given) if given.startswith(b"{") else {}
                if parts.path == "/v2/oauth2/token":
                    status, document = service.granted
                elif parts.path == "/.well-known/openid-configuration":
                    algorithms = {"id_token_signing_alg_values_supported": ["RS512"]}
                    status, document = 200, {"jwks_uri": f"{service.url}jwk.json"} | algorithms
                elif parts.path == "/jwk.json":
                    status, document = 200, {"keys": service.keys}
                elif service.valid_for == 0:
                    status, document = service.refusal
                else:
                    service.valid_for -= 1
                    status, document = service.refuse or service.answer(parts.path, parse_qs(parts.query), body)
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815  the name that http.server wants

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.silent = False
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> Reply:
        words = path.strip("/").split("/")[1:]
        if words == ["submission_id"]:
            return 200, {"DATA_TYPE": "submission_id", "value": str(uuid.uuid4())}
        if words in (["transfer"], ["delete"]):
            return 202, self._submit(body)
        if words[0] == "task":
            if words[2:] == ["cancel"]:
                self.tasks[words[1]]["status"] = "FAILED"
                return 200, {"DATA_TYPE": "result", "code": "Canceled"}
            return 200, self.tasks[words[1]]
        root, operation = self.collections[words[2]], words[3]
        if operation == "ls":
            return self._ls(root / query["path"][0].lstrip("/"))
        if operation == "mkdir":
            return self._mkdir(root / body["path"].lstrip("/"))
        assert operation == "rename"
        old, new = (root / body[key].lstrip("/") for key in ("old_path", "new_path"))
        if new.exists():
            return 502, {
                "code": "ExternalError.RenameFailed.Exists",
                "message": "Path already exists",
                "request_id": "x",
            }
        old.rename(new)
        return 200, {"DATA_TYPE": "result", "code": "FileRenamed", "message": "renamed", "request_id": "x"}

    def _ls(self, directory: Path) -> Reply:
        if not directory.is_dir():
            message = "Path not found, Error (list)\nMessage: No such file or directory"
            return 404, {"code": "ClientError.NotFound", "message": message, "request_id": "x", "resource": "ls"}
        found = []
        for one in sorted(directory.iterdir()):
            with suppress(FileNotFoundError):  # renamed meanwhile
                kind, size = "dir" if one.is_dir() else "file", one.stat().st_size
                found.append({"DATA_TYPE": "file", "name": one.name, "type": kind, "size": size})
        return 200, {"DATA_TYPE": "file_list", "DATA": found, "path": str(directory), "endpoint": "x"}

    def _mkdir(self, directory: Path) -> Reply:
        if directory.exists():
            return 502, {
                "code": "ExternalError.MkdirFailed.Exists",
                "message": "Path already exists",
                "request_id": "x",
            }
        directory.mkdir()
        return 202, {"DATA_TYPE": "mkdir_result", "code": "DirectoryCreated", "message": "created", "request_id": "x"}

    def _submit(self, body: dict[str, Any]) -> dict[str, Any]:
        task = str(uuid.uuid4())
        self.tasks[task] = {"task_id": task, "status": "ACTIVE", "bytes_transferred": 0, "nice_status": None}
        assert not body.get("notify_on_succeeded")
        work = self._delete if body["DATA_TYPE"] == "delete" else self._transfer
        thread = threading.Thread(target=work, args=(self.tasks[task], body), daemon=True)
        thread.start()
        if self.at_once:
            thread.join()
        kind = f"{body['DATA_TYPE']}_result"
        return {"DATA_TYPE": kind, "code": "Accepted", "task_id": task, "message": "", "request_id": "x"}

    def _delete(self, task: dict[str, Any], body: dict[str, Any]) -> None:
        for item in body["DATA"]:
            (self.collections[body["endpoint"]] / item["path"].lstrip("/")).unlink(missing_ok=body["ignore_missing"])
        task["status"] = "SUCCEEDED"

    def _transfer(self, task: dict[str, Any], body: dict[str, Any]) -> None:
        assert body["verify_checksum"] is True
        [item] = body["DATA"]
        source = self.collections[body["source_endpoint"]] / item["source_path"].lstrip("/")
        target = self.collections[body["destination_endpoint"]] / item["destination_path"].lstrip("/")
        if self.stuck:
            task["nice_status"] = "CONNECT_FAILED"
            return
        if self.fails:
            target.write_bytes(source.read_bytes()[:1000])
            fatal = {"code": "QUOTA_EXCEEDED", "description": "quota exceeded at the destination"}
            task.update(status=self.fails, fatal_error=fatal if self.fails == "FAILED" else None)
            return
        shutil.copyfile(source, target)
        task.update(status="SUCCEEDED", bytes_transferred=target.stat().st_size)
