"""Routes that give a model work."""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.gateway.admission import Admission
from hub.gateway.bodies import AcceptedBody
from hub.gateway.errors import CallTimeout
from hub.gateway.http_tasks import message_reply, succeeded, task_body
from hub.gateway.negotiation import HttpRequest, reply_type
from hub.gateway.replies import NO_STORE, json_reply
from hub.http.headers import prefer_wait
from hub.vocabulary import TaskState


@post("/v1/models/{model:str}", status_code=200)
async def call_model(
    request: HttpRequest, model: FromPath[str], admission: NamedDependency[Admission]
) -> Response[bytes]:
    """The synchronous call: the reply is the response message itself."""
    served = admission.find(model)
    kind = reply_type(request)
    asked = prefer_wait(request.headers.get("prefer"))
    task = await admission.submit(request, served, waiting=True)
    record = await admission.outcome(task, admission.call_wait if asked is None else asked)
    if record is None or not record.state.terminal:
        raise CallTimeout(task.id, TaskState.QUEUED if record is None else record.state)
    headers = {**NO_STORE, "Hub-Task": task.id}
    if asked is not None:
        headers["Preference-Applied"] = f"wait={asked:.0f}"
    return message_reply(succeeded(record), served.codec, kind, headers)


@post("/v1/models/{model:str}/tasks", status_code=202)
async def submit_task(
    request: HttpRequest, model: FromPath[str], admission: NamedDependency[Admission]
) -> Response[bytes]:
    """Accepts a task; with `Prefer: wait=N` answers 200 with its outcome if that comes in time."""
    served = admission.find(model)
    asked = prefer_wait(request.headers.get("prefer"))
    task = await admission.submit(request, served, waiting=bool(asked))
    headers = {**NO_STORE, "Location": f"/v1/tasks/{task.id}"}
    record = await admission.outcome(task, asked) if asked else None
    if record is not None and record.state.terminal:
        headers["Preference-Applied"] = f"wait={asked:.0f}"
        return json_reply(task_body(record, served.codec), headers=headers)
    return json_reply(AcceptedBody.of(task if record is None else record), status=202, headers=headers)
