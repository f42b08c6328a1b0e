"""Login, logout, and the list of instances."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody
from msgspec.structs import replace

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract
from hub.http.media_types import require_json
from hub.registry.client.errors import InvalidLogin
from hub.registry.client.schemas import (
    MAX_EXAMPLE,
    SECRET_HEADER,
    SECRET_LENGTHS,
    InstanceBody,
    InstancesBody,
    LoginBody,
    LoginReply,
)
from hub.registry.core.state import RegistryState
from hub.registry.http.documented import INVALID, NAME_TAKEN, NO_ROOM, NOT_JSON, NOT_MODIFIED, NOT_YOURS, reply
from hub.registry.http.watching import watched
from hub.registry.tasks.registration import RegistrationService
from hub.types import InstanceId, model_name

_SECRET: Final = HeaderParameter(name=SECRET_HEADER, description="The secret of the instance.", required=False)


@put(
    "/v1/instances/{instance_id:str}",
    summary="Log an instance in",
    responses={
        200: reply(LoginReply, "It was listed with the same facts already."),
        201: reply(LoginReply, "It is listed now."),
        403: NOT_YOURS,
        409: NAME_TAKEN,
        415: NOT_JSON,
        422: INVALID,
        503: NO_ROOM,
    },
    guards=[require_json],
    tags=["instances"],
)
async def login(
    instance_id: FromPath[str],
    data: JSONBody[LoginBody],
    registrar: NamedDependency[RegistrationService],
    secret: Annotated[str, _SECRET] = "",
) -> Response[LoginReply]:
    """The registry pings the instance before it answers, so `/ping` must be served at `url` by then.

    The call is idempotent; an instance that has not been pinged for three periods calls again. 409 when live instances
    hold the name of the model with another contract: the reply names each difference and those instances. In compatible
    mode a contract that breaks none of theirs is let in beside them; `accepts` names the other contracts whose tasks the
    instance may be given.

    An instance proves itself by a secret: it sends one of its own in `Hub-Instance-Secret`, or the registry makes one up;
    either way the reply has it, and later logins and logouts must carry it. A call for a listed instance without it
    changes nothing: with the same facts the instance is pinged, else the reply is 403 `not_your_instance`. 503
    `registry_full` when a bound leaves no room.
    """
    instance = parse_instance_id(instance_id)
    if instance is None:
        raise InvalidLogin("id", f"{instance_id!r} is no UUID: take a new UUID at each start of an instance")
    if len(data.example) > MAX_EXAMPLE:
        raise InvalidLogin("example", f"it has {len(data.example)} characters: leave it out or keep to {MAX_EXAMPLE}")
    decode = partial(Contract.decode, data.contract)
    outcome = await registrar.login(
        instance,
        model_name(data.model),
        data.url,
        await in_thread_if_large(CONTRACT_WEIGHT * len(data.contract), decode),
        example=data.example,
        limits=data.limits,
        consuming=data.consuming or data.loading,
        secret=_checked(secret),
    )
    body = replace(LoginReply.of(outcome.status), accepts=tuple(outcome.accepts), secret=outcome.secret)
    return Response(body, status_code=201 if outcome.created else 200)


@delete(
    "/v1/instances/{instance_id:str}",
    summary="Log an instance out",
    status_code=204,
    responses={403: NOT_YOURS},
    tags=["instances"],
)
async def logout(
    instance_id: FromPath[str], registrar: NamedDependency[RegistrationService], secret: Annotated[str, _SECRET] = ""
) -> None:
    """Takes the instance off the lists at once. Idempotent: an instance that is not listed is logged out already.

    403 `not_your_instance` without the secret of its login.
    """
    instance = parse_instance_id(instance_id)
    if instance is not None:
        registrar.logout(instance, secret=secret)


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
    responses={200: reply(InstancesBody, "All instances."), 304: NOT_MODIFIED},
    tags=["instances"],
)
async def list_instances(request: Request[Any, Any, Any], roll: NamedDependency[RegistryState]) -> Response[bytes]:
    """Every instance with its state. Watch the list with `If-None-Match` and `Prefer: wait=30`."""
    return await watched(
        request,
        roll,
        lambda: InstancesBody(instances=tuple(InstanceBody.of(status) for status in roll.table.instances())),
    )


def parse_instance_id(text: str) -> InstanceId | None:
    """The canonical form of an instance id, or `None` if `text` is no UUID."""
    try:
        return InstanceId(str(UUID(text)))
    except ValueError:
        return None
