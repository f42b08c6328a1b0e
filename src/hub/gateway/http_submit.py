"""Routes that give a model work. Each has one dependency: Litestar starts a task for each if there are several."""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.gateway.accepted import Accepted
from hub.gateway.admission import Admission
from hub.gateway.bodies import AcceptedBody
from hub.gateway.negotiation import HttpRequest, preference_applied, reply_type
from hub.gateway.replies import NO_STORE, json_reply
from hub.gateway.results import message_reply, task_body
from hub.gateway.task_errors import CallTimeout
from hub.http.headers import prefer_wait


@post("/v1/models/{model:str}", status_code=200)
async def call_model(
    request: HttpRequest, model: FromPath[str], admission: NamedDependency[Admission]
) -> Response[bytes]:
    """The synchronous call: the reply is the response message itself."""
    served = admission.find(model)
    kind = reply_type(request)
    asked = prefer_wait(request.headers.get("prefer"))
    task = await admission.submit(request, served, waiting=True)
    record = await admission.call(request, task, admission.call_wait if asked is None else asked)
    if record is None or not record.state.terminal:
        raise CallTimeout(task.id, (record or task).state)
    headers = {**NO_STORE, **_replayed(task)}
    if asked is not None:
        headers |= preference_applied(asked)
    return await message_reply(record, admission.codecs, kind, headers)


@post("/v1/models/{model:str}/tasks", status_code=202)
async def submit_task(
    request: HttpRequest, model: FromPath[str], admission: NamedDependency[Admission]
) -> Response[bytes]:
    """Accepts a task; with `Prefer: wait=N` answers 200 with its outcome if that comes in time."""
    served = admission.find(model)
    asked = prefer_wait(request.headers.get("prefer"))
    task = await admission.submit(request, served, waiting=bool(asked))
    headers = {**NO_STORE, **_replayed(task)}
    if asked is not None:
        headers |= preference_applied(asked)
    record = await admission.outcome(task, asked) if asked else None
    if record is not None and record.state.terminal:
        return json_reply(await task_body(record, admission.codecs), headers=headers)
    return json_reply(AcceptedBody.of(record or task), status=202, headers=headers)


def _replayed(task: Accepted) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if task.replayed else {}
