"""Routes about tasks that were accepted."""

from __future__ import annotations

from contextlib import suppress

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.contract.errors import NoJsonForm
from hub.gateway.bodies import TaskBody
from hub.gateway.catalog import Catalog
from hub.gateway.codec import Codec
from hub.gateway.dispatch import Dispatch
from hub.gateway.errors import ContractMissing, NotFinished, TaskFailed
from hub.gateway.negotiation import PROTOBUF, HttpRequest, reply_type, wait_parameter
from hub.gateway.replies import NO_STORE, json_reply
from hub.http.headers import etag_matches
from hub.task import TaskRecord


@get("/v1/tasks/{task_id:str}")
async def show_task(
    request: HttpRequest, task_id: FromPath[str], catalog: NamedDependency[Catalog], dispatch: NamedDependency[Dispatch]
) -> Response[bytes]:
    known = request.headers.get("if-none-match")
    seconds = wait_parameter(request)
    record = await dispatch.find(task_id)
    if seconds and not record.state.terminal and (known is None or etag_matches(known, _etag(record))):
        record = await dispatch.wait(task_id, seconds, after=None if known is None else record.revision)
    headers = {"Cache-Control": "no-cache", "ETag": _etag(record)}
    if etag_matches(known, _etag(record)):
        return Response(b"", status_code=304, headers=headers)
    return json_reply(task_body(record, catalog.codec(record.fingerprint)), headers=headers)


@get("/v1/tasks/{task_id:str}/result")
async def show_result(
    request: HttpRequest, task_id: FromPath[str], catalog: NamedDependency[Catalog], dispatch: NamedDependency[Dispatch]
) -> Response[bytes]:
    kind = reply_type(request)
    record = await dispatch.wait(task_id, wait_parameter(request))
    return message_reply(succeeded(record), catalog.codec(record.fingerprint), kind, NO_STORE)


def task_body(record: TaskRecord, codec: Codec | None) -> TaskBody:
    """The view of a task, with its result inside when the contract is known here and the result has a JSON form."""
    result: bytes | None = None
    if codec is not None and record.outcome is not None and record.outcome.body is not None:
        with suppress(NoJsonForm):  # `result_url` stands in the view, and gives it as protobuf
            result = codec.response_to_json(record.outcome.body)
    return TaskBody.of(record, result)


def succeeded(record: TaskRecord) -> bytes:
    """The serialized response of a task.

    Raises:
        NotFinished: There is no outcome yet.
        TaskFailed: It ended without a response.
    """
    if record.outcome is None:
        raise NotFinished(record.id, record.state)
    if record.outcome.failure is not None:
        raise TaskFailed(record.id, record.state, record.outcome.failure)
    return record.outcome.body or b""


def message_reply(body: bytes, codec: Codec | None, kind: str, headers: dict[str, str]) -> Response[bytes]:
    """A response message as JSON or protobuf.

    Raises:
        ContractMissing: JSON is wanted, and the contract is not known here.
        NoJsonForm: JSON is wanted, and this message has none.
    """
    if kind == PROTOBUF:
        return Response(body, status_code=200, media_type=PROTOBUF, headers=headers)
    if codec is None:
        raise ContractMissing
    return Response(codec.response_to_json(body), status_code=200, media_type=kind, headers=headers)


def _etag(record: TaskRecord) -> str:
    return f'"{record.revision}"'
