"""Login, logout, the list of instances and the history of their states."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from litestar import Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from msgspec.structs import replace

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract
from hub.contract.comments import MAX_COMMENTS, size_of
from hub.http.media_types import require_json
from hub.ports.directory import HISTORY_LENGTH, HistoryEvent
from hub.registry.client.errors import InvalidLogin
from hub.registry.client.schemas import (
    MAX_EXAMPLE,
    SECRET_HEADER,
    SECRET_LENGTHS,
    EventLogBody,
    InstanceBody,
    InstancesBody,
    LoginBody,
    LoginReply,
)
from hub.registry.core.state import RegistryState
from hub.registry.http.responses import (
    INVALID,
    NAME_TAKEN,
    NO_ROOM,
    NOT_JSON,
    NOT_MODIFIED,
    NOT_YOURS,
    UNREACHABLE,
    conditional_json,
    response_spec,
)
from hub.registry.tasks.directory_sync import directory_timeout
from hub.registry.tasks.registration import RegistrationService
from hub.types import InstanceId

ReadHistory: TypeAlias = Callable[[int], Awaitable[Sequence[HistoryEvent]]]
"""Reads that many of the last events, newest first."""

_SECRET: Final = HeaderParameter(name=SECRET_HEADER, description="The secret of the instance.", required=False)


@put(
    "/v1/instances/{instance_id:str}",
    summary="Log an instance in",
    responses={
        200: response_spec(LoginReply, "It was listed with the same facts already."),
        201: response_spec(LoginReply, "It is listed now."),
        403: NOT_YOURS,
        409: NAME_TAKEN,
        415: NOT_JSON,
        422: INVALID,
        502: UNREACHABLE,
        503: NO_ROOM,
    },
    guards=[require_json],
    tags=["instances"],
)
async def login(
    instance_id: FromPath[str],
    data: JSONBody[LoginBody],
    registration: NamedDependency[RegistrationService],
    secret: Annotated[str, _SECRET] = "",
) -> Response[LoginReply]:
    """The registry pings the instance before it answers, so `/ping` must be served at `url` by then.

    Without a `contract` the registry reads it from the routes `/descriptors`, `/descriptors/request` and
    `/descriptors/response` of the instance, and the reply is 502 `descriptors_unreachable` or 422 `invalid_descriptors` if it
    cannot.

    The call is idempotent; an instance that has not been pinged for three periods calls again. 409 when live instances
    hold the name of the model with another contract: the reply names each difference and those instances. In compatible
    mode a contract that breaks none of theirs is accepted; `accepts` has the other contracts whose tasks the instance may
    be given.

    An instance is identified by a secret: it sends one of its own in `Hub-Instance-Secret`, or the registry generates one;
    either way the reply has it, and later logins and logouts must carry it. A call for a listed instance without it
    changes nothing: with the same facts the instance is pinged, else the reply is 403 `not_your_instance`. 503
    `registry_full` when a limit is reached.
    """
    instance = parse_instance_id(instance_id)
    if instance is None:
        raise InvalidLogin("id", f"{instance_id!r} is no UUID: take a new UUID at each start of an instance")
    if len(data.example) > MAX_EXAMPLE:
        raise InvalidLogin("example", f"it has {len(data.example)} characters: leave it out or keep to {MAX_EXAMPLE}")
    if (size := size_of(data.comments)) > MAX_COMMENTS:
        raise InvalidLogin("comments", f"they have {size} characters: leave some out, or keep to {MAX_COMMENTS}")
    proof = _checked(secret)
    if data.contract is None:
        contract = await registration.read_contract(data.url)
    else:
        decode = partial(Contract.decode, data.contract)
        contract = await in_thread_if_large(CONTRACT_WEIGHT * len(data.contract), decode)
    accepted = await registration.login(data.request(instance, contract, proof))
    body = replace(LoginReply.of(accepted.status), accepts=tuple(accepted.accepts), secret=accepted.secret)
    return Response(body, status_code=201 if accepted.created else 200)


@delete(
    "/v1/instances/{instance_id:str}",
    summary="Log an instance out",
    status_code=204,
    responses={403: NOT_YOURS},
    tags=["instances"],
)
async def logout(
    instance_id: FromPath[str], registration: NamedDependency[RegistrationService], secret: Annotated[str, _SECRET] = ""
) -> None:
    """Removes the instance from the lists at once. Idempotent: an instance that is not listed is logged out already.

    403 `not_your_instance` without the secret of its login.
    """
    instance = parse_instance_id(instance_id)
    if instance is not None:
        registration.logout(instance, secret=secret)


def _checked(secret: str) -> str:
    least, most = SECRET_LENGTHS
    if secret and not (least <= len(secret) <= most and secret.isascii() and secret.isprintable()):
        raise InvalidLogin(
            SECRET_HEADER,
            f"it has to be {least} to {most} printable ASCII characters: leave it out, and use the reply's",
        )
    return secret


@get(
    "/v1/instances",
    summary="List all instances",
    responses={200: response_spec(InstancesBody, "All instances."), 304: NOT_MODIFIED},
    tags=["instances"],
)
async def list_instances(request: Request[Any, Any, Any], registry: NamedDependency[RegistryState]) -> Response[bytes]:
    """Every instance with its registry. Watch the list with `If-None-Match` and `Prefer: wait=30`."""
    return await conditional_json(
        request,
        registry,
        lambda: InstancesBody(instances=tuple(InstanceBody.of(status) for status in registry.instances())),
    )


@get(
    "/v1/history",
    summary="Show what became of instances",
    responses={200: response_spec(EventLogBody, "Events, newest first.")},
    tags=["instances"],
)
async def show_history(
    history: NamedDependency[ReadHistory],
    model: Annotated[str | None, QueryParameter(description="Only instances of this model.")] = None,
    limit: Annotated[int, QueryParameter(description="Events at most.", ge=1, le=HISTORY_LENGTH)] = 100,
) -> EventLogBody:
    """Changes of state of instances, logins and removals included, each with time and reason.

    The last 1,000 events are kept, for all registries that share a directory. 503 while that is out of reach.
    """
    with directory_timeout():
        events = await history(limit if model is None else HISTORY_LENGTH)
    return EventLogBody(events=tuple(event for event in events if model in (None, event.model))[:limit])


def parse_instance_id(text: str) -> InstanceId | None:
    """The canonical form of an instance id, or `None` if `text` is no UUID."""
    try:
        return InstanceId(str(UUID(text)))
    except ValueError:
        return None
