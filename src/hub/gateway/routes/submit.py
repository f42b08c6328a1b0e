"""Routes that make a task of a model.

Each has one dependency: Litestar starts an async task per dependency if there are several.
"""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.gateway.schemas import AcceptedBody
from hub.gateway.tasks.errors import CallTimeout
from hub.gateway.tasks.results import message_reply, task_body
from hub.gateway.tasks.submission import SubmissionService
from hub.http.conditional import NO_STORE, json_reply
from hub.http.dependencies import HttpRequest
from hub.http.headers import prefer_wait, preference_applied
from hub.http.negotiation import json_or_protobuf
from hub.submission.outcomes import SubmitResult


@post("/v1/models/{model:str}", status_code=200)
async def call_model(
    request: HttpRequest,
    model: FromPath[str],
    submissions: NamedDependency[SubmissionService],
) -> Response[bytes]:
    """The synchronous call: the reply is the response message itself."""
    served = submissions.find_model(model)
    media_type = json_or_protobuf(request.headers)
    wait = prefer_wait(request.headers.get("prefer"))
    task = await submissions.submit(request, served, waiting=True)
    record = await submissions.call(request, task, submissions.call_wait if wait is None else wait)
    if record is None or not record.state.terminal:
        raise CallTimeout(task.id, (record or task).state)
    return await message_reply(record, submissions.codecs, media_type, _headers(task, wait))


@post("/v1/models/{model:str}/tasks", status_code=202)
async def submit_task(
    request: HttpRequest,
    model: FromPath[str],
    submissions: NamedDependency[SubmissionService],
) -> Response[bytes]:
    """Accepts a task; with `Prefer: wait=N` the reply is 200 with its outcome if that is there in time."""
    served = submissions.find_model(model)
    wait = prefer_wait(request.headers.get("prefer"))
    task = await submissions.submit(request, served, waiting=bool(wait))
    record = await submissions.outcome_for(request, task, wait) if wait else None
    headers = _headers(task, wait)
    if record is not None and record.state.terminal:
        return json_reply(await task_body(record, submissions.codecs), headers=headers)
    return json_reply(AcceptedBody.of(record or task), status=202, headers=headers)


def _headers(task: SubmitResult, wait: float | None) -> dict[str, str]:
    replayed = {"Idempotent-Replayed": "true"} if task.replayed else {}
    return {**NO_STORE, **replayed, **({} if wait is None else preference_applied(wait))}
