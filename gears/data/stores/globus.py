"""A directory of a Globus collection as a store. Globus moves files between collections only, so each is staged.

A file is written to a directory of this host that is a collection too (`Near`), transferred from there with checksums
compared by Globus, and renamed. Requests and documents are those of the Transfer API; errors are told by their codes.
Run as a program, `python -m gears.data.stores.globus CLIENT TOKENS [COLLECTION…]` logs the user in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gears.data.contents import is_full
from gears.data.stores.base import CHUNK_BYTES, Near, is_part, part_name, part_stem
from gears.errors import CommandFailed, Incomplete, LoginNeeded, MissingProgram, NotReachable, UsageError

if TYPE_CHECKING:
    from globus_sdk import GlobusError, TransferClient, UserApp

POLL_S = 10.0
"""Between two queries of a transfer's state. Globus asks for no more than a few a minute."""

STANDSTILL_S = 6 * 3600.0
"""How long a transfer may make no progress: a tape is mounted, or a collection is being serviced."""

RETRIES = 5
"""How often the SDK repeats a request that was not answered, with growing pauses."""

TO_LOG_IN = {"ConsentRequired", "AuthenticationFailed", "ClientError.AuthenticationFailed", "PermissionDenied.Session"}
MISSING = {"NotFound", "ClientError.NotFound"}
BUSY = {429, 500, 502, 503, 504}
"""Statuses of a service that can't answer now: that of the transfers, or that of the tokens."""


def open_store(path: str, near: Near | None = None) -> GlobusStore:
    """Return the directory `COLLECTION:PATH` as a store, reached from the collection `near`.

    Raises MissingProgram without globus-sdk, UsageError without a near collection or the id of a client. Connects to
    nothing yet.
    """
    if not near or not near.client:
        missing = "`collection` of a place on this host" if not near else "`globus_client` in [transfer]"
        raise UsageError(f"{path}: Globus needs {missing}", next="gears data places   (and see Where data is kept)")
    try:
        import globus_sdk
    except ImportError as exc:
        raise MissingProgram("globus-sdk is not installed", next="pip install 'gears[globus]'") from exc
    collection, _, directory = path.partition(":")
    client = globus_sdk.TransferClient(app=user_app(near.client, near.tokens))
    client.retry_config.max_retries = RETRIES
    return GlobusStore(collection, directory, client, near)


def user_app(client_id: str, tokens: Path) -> UserApp:
    """Return the app with the tokens of `tokens` (0600). It never asks by itself for a login."""
    from globus_sdk import GlobusAppConfig, UserApp
    from globus_sdk.token_storage import JSONTokenStorage

    storage = JSONTokenStorage(tokens)
    settings = GlobusAppConfig(request_refresh_tokens=True, token_storage=storage, token_validation_error_handler=None)
    return UserApp("gears", client_id=client_id, config=settings)


class GlobusStore:
    """Files in a directory of a collection. The far end gets a temporary name first, as the near one."""

    ranged = False

    def __init__(self, collection: str, path: str, client: TransferClient, near: Near) -> None:
        self.collection, self.path = collection, path.rstrip("/") or "/"
        self._client, self._near = client, near

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store a file (`base.Store.write`). Needs room for it in the near directory, too."""
        part = part_name(name)
        staged = self._near.directory / part
        try:
            self._stage(staged, chunks)
            self._make_directory()
            self._transfer(part, to_far=True)
            self._rename(part, name, staged.stat().st_size)
        finally:
            staged.unlink(missing_ok=True)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read a file (`base.Store.read`): the whole file is transferred first."""
        if name not in self._all_sizes():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.path}/{name}")
        part = part_name(name)
        staged = self._near.directory / part
        try:
            with self._staging():
                staged.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._transfer(part, to_far=False, name=name)
            with staged.open("rb") as file:
                file.seek(offset)
                left = staged.stat().st_size if length is None else length
                while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
                    yield chunk
                    left -= len(chunk)
        finally:
            staged.unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        """Return the files (`base.Store.sizes`)."""
        return {name: size for name, size in self._all_sizes().items() if not is_part(name)}

    def remove(self, name: str) -> None:
        """Remove a file (`base.Store.remove`)."""
        from globus_sdk import DeleteData

        with self._errors():
            data = DeleteData(endpoint=self.collection, ignore_missing=True, notify_on_succeeded=False)
            data.add_item(f"{self.path}/{name}")
            task = self._client.submit_delete(data)["task_id"]
        self._wait(task)

    def _stage(self, staged: Path, chunks: Iterable[bytes]) -> None:
        with self._staging():
            staged.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in staged.parent.glob(f"{staged.name.rpartition('-')[0]}-*"):
                old.unlink(missing_ok=True)
            file = os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        with file:
            for chunk in chunks:
                with self._staging():
                    file.write(chunk)
            with self._staging():
                file.flush()

    def _make_directory(self) -> None:
        with contextlib.suppress(FileExistsError), self._errors():
            self._client.operation_mkdir(self.collection, path=self.path)

    def _rename(self, part: str, name: str, size: int) -> None:
        found = self._all_sizes()
        if found.get(part) != size:
            arrived = found.get(part, 0)
            raise Incomplete(f"{self.path}/{name}: sent {size} bytes, {arrived} arrived", next=self._to_try())
        for other in found.keys() - {part}:
            if other == name or other.startswith(part_stem(name)):
                self.remove(other)
        with self._errors():
            self._client.operation_rename(self.collection, oldpath=f"{self.path}/{part}", newpath=f"{self.path}/{name}")

    def _transfer(self, part: str, *, to_far: bool, name: str = "") -> None:
        from globus_sdk import TransferData

        near, far = self._near.collection, self.collection
        source, target = (near, far) if to_far else (far, near)
        data = TransferData(
            source_endpoint=source,
            destination_endpoint=target,
            label="gears-data",
            verify_checksum=True,
            fail_on_quota_errors=True,
            notify_on_succeeded=False,
            notify_on_failed=False,
            notify_on_inactive=False,
        )
        here, there = f"{self._near.path}/{part}", f"{self.path}/{name or part}"
        data.add_item(*((here, there) if to_far else (there, here)))
        with self._errors():
            task = self._client.submit_transfer(data)["task_id"]
        self._wait(task)

    def _wait(self, task: str) -> None:
        """Wait for the end of a task. A task that is waited for no longer is cancelled."""
        progress, since = (-1, -1), time.monotonic()
        try:
            while True:
                with self._errors():
                    state = self._client.get_task(task).data
                if state["status"] == "SUCCEEDED":
                    return
                if state["status"] != "ACTIVE":
                    raise self._ended(state)
                now = (state.get("bytes_transferred") or 0, state.get("bytes_checksummed") or 0)
                if now != progress:
                    progress, since = now, time.monotonic()
                elif time.monotonic() - since > STANDSTILL_S:
                    why = state.get("nice_status") or "no reason is given"
                    raise NotReachable(f"{self.path}: the transfer stands still: {why}", next=_to_see(task))
                time.sleep(POLL_S)
        except BaseException:
            from globus_sdk import GlobusError

            with contextlib.suppress(GlobusError):
                self._client.cancel_task(task)
            raise

    def _ended(self, state: dict[str, Any]) -> Exception:
        """Return what it means that a task has ended, or has become inactive: its credentials have expired."""
        fatal = state.get("fatal_error") or {}
        why = fatal.get("description") or state.get("nice_status") or "no reason is given"
        message = f"{self.collection}:{self.path}: the transfer has {state['status'].lower()}: {why}"
        if state["status"] == "INACTIVE":
            return LoginNeeded(message, next=self._to_log_in())
        return Incomplete(message, next=_to_see(state["task_id"]))

    def _all_sizes(self) -> dict[str, int]:
        try:
            with self._errors():
                found = self._client.operation_ls(self.collection, path=self.path)
                return {one["name"]: one["size"] for one in found if one["type"] == "file"}
        except FileNotFoundError:
            return {}

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from globus_sdk import GlobusError

        try:
            yield
        except GlobusError as exc:
            raise self._translated(exc) from exc

    def _translated(self, exc: GlobusError) -> Exception:
        """Return what an error of the SDK means."""
        from globus_sdk import AuthAPIError, GlobusAPIError, NetworkError
        from globus_sdk.token_storage import TokenValidationError

        where = f"{self.collection}:{self.path}"
        busy = isinstance(exc, GlobusAPIError) and exc.http_status in BUSY
        if isinstance(exc, TokenValidationError) or (isinstance(exc, AuthAPIError) and not busy):
            return LoginNeeded(f"{where}: not logged in to Globus", next=self._to_log_in())
        if isinstance(exc, NetworkError):
            return NotReachable(
                f"{where}: Globus does not answer: {exc}", next="curl -I https://transfer.api.globus.org"
            )
        if not isinstance(exc, GlobusAPIError):
            return CommandFailed(f"{where}: {exc}", next=self._to_try())
        code, message = exc.code or "", f"{where}: {(exc.message or exc.http_reason).splitlines()[0]}"
        if (
            exc.http_status == 401
            or code in TO_LOG_IN
            or exc.info.consent_required
            or exc.info.authorization_parameters
        ):
            return LoginNeeded(message, next=self._to_log_in())
        if code in MISSING:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where)
        if code.endswith("Exists"):
            return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), where)
        if busy:
            return NotReachable(f"{message} ({code})", next=self._to_try())
        return CommandFailed(f"{message} ({code})", status=exc.http_status, next=self._to_try())

    def _to_try(self) -> str:
        return f"globus ls {shlex.quote(f'{self.collection}:{self.path}')}"

    def _to_log_in(self) -> str:
        near = self._near
        words = (sys.executable, "-m", __name__, near.client, str(near.tokens), self.collection, near.collection)
        return shlex.join(words)

    @contextlib.contextmanager
    def _staging(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            directory = self._near.directory
            if is_full(exc):
                raise Incomplete(f"{directory}: {exc.strerror}", next=f"df -h {directory}") from exc
            raise NotReachable(f"{directory}: {exc.strerror}", next=f"ls -ld {directory}") from exc


def _to_see(task: str) -> str:
    return f"https://app.globus.org/activity/{task}"


def log_in(client_id: str, tokens: str, *collections: str) -> str:
    """Log the user in, in a terminal, with the consent to reach the data of `collections`. Return why that failed."""
    from globus_sdk import GlobusError, TransferClient

    app = user_app(client_id, Path(tokens))
    TransferClient(app=app).add_app_data_access_scope(collections)
    try:
        app.login(force=True)
    except (GlobusError, EOFError) as exc:
        return f"not logged in: {exc}"
    return ""


if __name__ == "__main__":
    sys.exit(log_in(*sys.argv[1:]) or None)
