"""The store of Globus against the answers that globus-sdk has recorded (`globus_sdk.testing`), with the real SDK.

What is not recorded, the listing of a directory, is a document of the API's documentation.
"""

import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import responses
from globus_sdk import TransferClient
from globus_sdk.testing import RegisteredResponse, get_response_set, load_response
from globus_sdk.testing.data.transfer._common import ENDPOINT_ID, TASK_ID

from gears.data.stores import globus
from gears.data.stores.base import Near, is_part
from gears.data.stores.globus import GlobusStore
from gears.errors import CommandFailed, LoginNeeded, NotReachable
from tests.standins.globus import Transfers
from tests.store_places import CLIENT, log_in

API = "https://transfer.api.globus.org/v0.10"
LS = f"{API}/operation/endpoint/{ENDPOINT_ID}/ls"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    """No request leaves this host."""
    monkeypatch.setattr(globus, "RETRIES", 0)
    monkeypatch.setattr(globus, "POLL_S", 0.0)
    for name in ("TRANSFER", "AUTH"):
        monkeypatch.delenv(f"GLOBUS_SDK_SERVICE_URL_{name}", raising=False)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def near(tmp_path: Path) -> Near:
    near = Near(ENDPOINT_ID, "/stage", tmp_path / "stage", CLIENT, tmp_path / "globus.json")
    log_in(near)
    return near


@pytest.fixture
def store(recorded: responses.RequestsMock, near: Near) -> GlobusStore:
    return globus.open_store(f"{ENDPOINT_ID}:/run7", near)


def answer(of: Any, case: str = "default") -> RegisteredResponse:
    found = get_response_set(of).lookup(case)
    assert isinstance(found, RegisteredResponse)
    return found


def documents(of: Any, case: str = "default") -> dict[str, Any]:
    found = answer(of, case).json
    assert isinstance(found, dict)
    return found


def task(**changes: Any) -> dict[str, Any]:
    """The recorded document of a task that has succeeded."""
    document = deepcopy(documents("transfer.task_list")["DATA"][0])
    return document | {"task_id": TASK_ID} | changes


def listing(**sizes: int) -> dict[str, Any]:
    found = [{"DATA_TYPE": "file", "name": name, "type": "file", "size": size} for name, size in sizes.items()]
    return {"DATA_TYPE": "file_list", "DATA": found, "path": "/run7/", "endpoint": ENDPOINT_ID}


def sent(mock: responses.RequestsMock, path: str) -> list[dict[str, Any]]:
    """The bodies of the requests to a path."""
    calls = [call.request for call in mock.calls if str(call.request.url).partition("?")[0] == f"{API}{path}"]
    return [json.loads(request.body) for request in calls if request.body]


def serve_store(mock: responses.RequestsMock) -> None:
    """Answer as recorded, and list what was transferred under its temporary name, until it is renamed."""
    names: dict[str, str] = {}

    def list_found(_request: Any) -> tuple[int, dict[str, str], str]:
        for one in sent(mock, "/transfer"):
            part = one["DATA"][0]["destination_path"].rpartition("/")[2]
            names.setdefault(part, part)
        for one in sent(mock, f"/operation/endpoint/{ENDPOINT_ID}/rename"):
            names[one["old_path"].rpartition("/")[2]] = one["new_path"].rpartition("/")[2]
        return 200, {}, json.dumps(listing(**dict.fromkeys(names.values(), 5)))

    mock.add_callback("GET", LS, list_found)
    for of in ("get_submission_id", "submit_transfer", "submit_delete", "operation_mkdir", "operation_rename"):
        load_response(f"transfer.{of}", requests_mock=mock)
    mock.get(f"{API}/task/{TASK_ID}", json=task())


def test_a_file_is_stored(store: GlobusStore, recorded: responses.RequestsMock) -> None:
    serve_store(recorded)
    store.write("file", [b"five5"])
    [transfer] = sent(recorded, "/transfer")
    [item] = transfer["DATA"]
    assert is_part(item["destination_path"].rpartition("/")[2])
    assert item["source_path"].startswith("/stage/")
    assert (transfer["DATA_TYPE"], transfer["verify_checksum"]) == ("transfer", True)
    assert transfer["submission_id"] == answer("transfer.get_submission_id").metadata["submission_id"]
    [rename] = sent(recorded, f"/operation/endpoint/{ENDPOINT_ID}/rename")
    assert (rename["old_path"], rename["new_path"]) == (item["destination_path"], "/run7/file")
    assert [one["path"] for one in sent(recorded, f"/operation/endpoint/{ENDPOINT_ID}/mkdir")] == ["/run7"]
    assert store.sizes() == {"file": 5}


def test_a_file_is_removed(store: GlobusStore, recorded: responses.RequestsMock) -> None:
    serve_store(recorded)
    store.remove("file")
    [delete] = sent(recorded, "/delete")
    assert (delete["DATA_TYPE"], delete["DATA"][0]["path"]) == ("delete", "/run7/file")


def test_a_task_that_fails_or_waits_for_a_login(store: GlobusStore, recorded: responses.RequestsMock) -> None:
    load_response(TransferClient.get_submission_id, requests_mock=recorded)
    load_response(TransferClient.submit_delete, requests_mock=recorded)
    recorded.add("POST", f"{API}/task/{TASK_ID}/cancel", json=answer(TransferClient.cancel_task).json)
    recorded.get(f"{API}/task/{TASK_ID}", json=task(status="ACTIVE"))
    recorded.get(f"{API}/task/{TASK_ID}", json=task(status="INACTIVE", nice_status="CREDENTIALS_EXPIRED"))
    with pytest.raises(LoginNeeded, match="CREDENTIALS_EXPIRED") as raised:
        store.remove("file")
    assert "-m gears.data.stores.globus" in str(raised.value.next)
    assert str(recorded.calls[-1].request.url).endswith(f"/task/{TASK_ID}/cancel")


REFUSALS: dict[str, tuple[Callable[[], RegisteredResponse], type[Exception], str]] = {
    "permission": (lambda: answer(TransferClient.operation_stat, "permission_denied"), CommandFailed, "Denied by"),
    "request": (lambda: answer(TransferClient.submit_transfer, "failure"), CommandFailed, "at least one item"),
    "consent": (lambda: consent(), LoginNeeded, "data_access consent"),
}


def consent() -> RegisteredResponse:
    """The document that says which consent is missing, recorded as the reason of a timer that has stopped."""
    found = deepcopy(documents("timer.get_job", "inactive_gare")["inactive_reason"]["detail"])
    found["message"] = found["authorization_parameters"]["session_message"]
    return RegisteredResponse(path=LS, json=found, status=403)


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused(store: GlobusStore, recorded: responses.RequestsMock, name: str) -> None:
    make, error, words = REFUSALS[name]
    refusal = make()
    recorded.get(LS, json=refusal.json, status=refusal.status)
    with pytest.raises(error, match=words) as raised:
        store.sizes()
    assert type(raised.value) is error
    assert raised.value.next  # type: ignore[attr-defined]


def test_a_directory_that_is_not_there_is_empty(store: GlobusStore, recorded: responses.RequestsMock) -> None:
    refusal = answer(TransferClient.operation_stat, "not_found")
    recorded.get(LS, json=refusal.json, status=refusal.status)
    assert store.sizes() == {}
    with pytest.raises(FileNotFoundError):
        list(store.read("file"))


# --- tokens ----------------------------------------------------------------------------------

TOKEN = "https://auth.globus.org/v2/oauth2/token"


@pytest.fixture
def expired(recorded: responses.RequestsMock, near: Near) -> GlobusStore:
    """A store whose access token has expired: it is renewed by the refresh token before the first request."""
    document = json.loads(near.tokens.read_text())
    for tokens in document["data"].values():
        for one in tokens.values():
            one["expires_at_seconds"] = int(time.time()) - 10
    near.tokens.write_text(json.dumps(document))
    recorded.get(LS, json=listing(file=5))
    return globus.open_store(f"{ENDPOINT_ID}:/run7", near)


def test_an_access_token_that_has_expired_is_renewed(
    expired: GlobusStore, recorded: responses.RequestsMock, near: Near
) -> None:
    renewed = documents("auth.oauth2_exchange_code_for_tokens") | {"refresh_token": "new"}
    recorded.post(TOKEN, json=renewed)
    assert expired.sizes() == {"file": 5}
    assert recorded.calls[-1].request.headers["Authorization"] == f"Bearer {renewed['access_token']}"
    assert renewed["access_token"] in near.tokens.read_text()
    assert near.tokens.stat().st_mode & 0o777 == 0o600


def test_a_refresh_token_that_has_expired(expired: GlobusStore, recorded: responses.RequestsMock) -> None:
    refusal = answer("auth.oauth2_exchange_code_for_tokens", "invalid_grant")
    recorded.post(TOKEN, json=refusal.json, status=refusal.status)
    with pytest.raises(LoginNeeded) as raised:
        expired.sizes()
    assert "-m gears.data.stores.globus" in str(raised.value.next)


def test_tokens_that_can_not_be_renewed_now_need_no_login(
    expired: GlobusStore, recorded: responses.RequestsMock
) -> None:
    recorded.post(TOKEN, json={"error": "service_unavailable"}, status=503)
    with pytest.raises(NotReachable):
        expired.sizes()


# --- the stand-in ----------------------------------------------------------------------------


def test_the_stand_in_answers_as_recorded(tmp_path: Path) -> None:
    """It has no key that the service does not have."""
    service = Transfers({ENDPOINT_ID: tmp_path})
    service.at_once = True
    item = {"source_path": "/a", "destination_path": "/b"}
    ends = {"source_endpoint": ENDPOINT_ID, "destination_endpoint": ENDPOINT_ID}
    bodies: dict[str, Any] = {
        "operation_mkdir": {"path": "/x"},
        "operation_rename": {"old_path": "/b", "new_path": "/c"},
        "submit_transfer": {"DATA_TYPE": "transfer", "DATA": [item], "verify_checksum": True, **ends},
        "submit_delete": {"DATA_TYPE": "delete", "DATA": [{"path": "/c"}], "endpoint": ENDPOINT_ID}
        | {"ignore_missing": True},
    }
    (tmp_path / "a").write_bytes(b"x")
    try:
        for name in ("submit_transfer", "operation_mkdir", "operation_rename", "submit_delete"):
            wanted = documents(f"transfer.{name}")
            _, given = service.answer(answer(f"transfer.{name}").path, {}, bodies[name])
            assert given.keys() <= wanted.keys(), name
            assert (given["DATA_TYPE"], given["code"]) == (wanted["DATA_TYPE"], wanted["code"])
        for one in service.tasks.values():
            assert one.keys() <= task().keys()
    finally:
        service.close()
