"""The scripts of the result store, for models in other languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from hub.http.conditional import conditional_reply
from hub.redis.script import Script
from hub.registry.client.schemas import ScriptBody, ScriptsBody
from hub.registry.http.responses import response_spec
from hub.stores.redis import commands

SCRIPTS: Final[Mapping[str, Script]] = {
    "start": commands.START,
    "finish": commands.FINISH,
    "release": commands.RELEASE,
    "resync": commands.RESYNC,
    "report": commands.REPORT,
    "list": commands.LIST,
}
"""What the work on one task needs. Submits and replays are calls of gateways and operators."""

_CONTENT: Final = msgspec.json.encode(
    ScriptsBody(scripts={name: ScriptBody(sha1=script.sha, text=script.text) for name, script in SCRIPTS.items()})
)


@get(
    "/v1/store/scripts",
    summary="List the scripts of the result store",
    responses={
        200: response_spec(ScriptsBody, "The scripts by name."),
        304: response_spec(None, "The scripts are those that `If-None-Match` names."),
    },
    tags=["operations"],
)
async def list_scripts(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The Lua scripts with which an instance changes the record of a task in Redis.

    A model in another language loads them when it starts and calls them with the arguments that docs/wire.md describes, so
    that it changes records exactly as this release of hub does. They belong to the release of the registry.
    """
    return conditional_reply(request, _CONTENT)
