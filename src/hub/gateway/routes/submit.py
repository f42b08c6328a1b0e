"""Routes that make a task of a model.

Each has one dependency: Litestar starts an async task per dependency if there are several.
"""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.gateway.schemas import AcceptedBody
from hub.gateway.streams.negotiation import FORMS, message_type_of_unary, resume_position, stream_type
from hub.gateway.streams.results import outcome_reply
from hub.gateway.streams.service import StreamService
from hub.gateway.tasks.errors import CallTimeout
from hub.gateway.tasks.results import task_body
from hub.gateway.tasks.submission import SubmissionService
from hub.http.conditional import NO_STORE, json_reply
from hub.http.dependencies import HttpRequest, IncomingRequest
from hub.http.headers import prefer_wait, preference_applied
from hub.submission.outcomes import SubmitResult


@post("/v1/models/{model:str}", status_code=200)
async def call_model(
    request: HttpRequest,
    model: FromPath[str],
    streams: NamedDependency[StreamService],
) -> Response[bytes]:
    return await reply_to_call(request, model, streams)


@post("/v1/models/{model:str}/tasks", status_code=202)
async def submit_task(
    request: HttpRequest,
    model: FromPath[str],
    submissions: NamedDependency[SubmissionService],
) -> Response[bytes]:
    return await reply_to_submit(request, model, submissions)


async def reply_to_call(request: IncomingRequest, model: str, streams: StreamService) -> Response[bytes]:
    """The synchronous call: the reply is the response message itself; of a streaming model, its chunks as they come."""
    submissions = streams.submissions
    served = submissions.find_model(model)
    if served.known.streaming:
        media_type = stream_type(request.headers)
    else:
        media_type = message_type_of_unary(request.headers, served.name)
    form = FORMS.get(media_type)
    after = resume_position(request.headers) if served.known.streaming else None
    wait = prefer_wait(request.headers.get("prefer"))
    task = await submissions.submit(request, served, waiting=True)
    if form is not None:
        return await streams.call_reply(served, task, form, after=after, headers=_headers(task, None))
    record = await submissions.call(request, task, submissions.call_wait if wait is None else wait)
    if record is None or not record.state.terminal:
        raise CallTimeout(task.id, (record or task).state)
    return await outcome_reply(record, streams.tasks, submissions.codecs, media_type, _headers(task, wait))


async def reply_to_submit(request: IncomingRequest, model: str, submissions: SubmissionService) -> Response[bytes]:
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
