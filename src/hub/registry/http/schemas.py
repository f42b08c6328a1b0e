"""What models take and give back, for programs that cannot ask an instance."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict
from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from hub.contract import Contract, differences
from hub.errors import UnknownModel
from hub.http.headers import etag_matches
from hub.ports import KnownContract
from hub.registry.bodies import CONTRACT, DESCRIPTORS, PROTOBUF, CheckBody, CheckReply, SchemaBody
from hub.registry.http.documented import reply
from hub.registry.roll import Roll
from hub.vocabulary import Fingerprint, ModelName

_CONTRACT_PARAMETER: Final = CONTRACT.rpartition(" ")[2]

_SUFFIXES: Final = {MediaType.JSON: "", DESCRIPTORS: ".binary", CONTRACT: ".contract"}
"""What tells the ETags of the forms of one contract apart."""


@get(
    "/v1/schemas/{model:str}",
    summary="Show the contract of a model",
    responses={
        200: reply(
            SchemaBody,
            f"Or, by `Accept: {PROTOBUF}`, a binary FileDescriptorSet, and by `Accept: {CONTRACT}` a hub.v1.Contract.",
        )
    },
    tags=["schemas"],
)
async def show_schema(
    request: Request[Any, Any, Any],
    model: FromPath[str],
    roll: NamedDependency[Roll],
    fingerprint: Annotated[
        str | None, QueryParameter(description="An earlier contract of the model; without it, the present one.")
    ] = None,
) -> Response[bytes]:
    """The `FileDescriptorSet` of its request and response message and all that they refer to."""
    known = _known(roll, model, fingerprint)
    contract = known.contract
    form = _form(request.headers.get("accept", ""))
    headers = {
        "ETag": f'"{contract.fingerprint}{_SUFFIXES[form]}"',
        "Cache-Control": "no-cache",
        "Vary": "Accept",
    }
    if etag_matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(b"", status_code=304, headers=headers)
    if form == CONTRACT:
        return Response(contract.encode(), media_type=CONTRACT, headers=headers)
    if form == DESCRIPTORS:
        return Response(contract.files, media_type=DESCRIPTORS, headers=headers)
    body = SchemaBody(
        model=known.model,
        fingerprint=contract.fingerprint,
        request=contract.request,
        response=contract.response,
        first_seen_at=known.first_seen_at,
        first_seen_from=known.first_seen_from,
        descriptors=MessageToDict(FileDescriptorSet.FromString(contract.files)),
    )
    return Response(msgspec.json.encode(body), media_type=MediaType.JSON, headers=headers)


@post("/v1/schemas/{model:str}/check", summary="Check a contract against a model's", status_code=200, tags=["schemas"])
async def check_schema(model: FromPath[str], data: JSONBody[CheckBody], roll: NamedDependency[Roll]) -> CheckReply:
    """Whether an instance with this contract could log in while the present instances of the model are up.

    For a build pipeline: it finds a changed message before a deployment does.
    """
    known = _known(roll, model, None)
    contract = Contract.decode(data.contract)
    return CheckReply(
        compatible=contract.fingerprint == known.contract.fingerprint,
        fingerprint=contract.fingerprint,
        known_fingerprint=known.contract.fingerprint,
        differences=tuple(differences(known.contract, contract)),
    )


def _form(accept: str) -> str:
    """The media type of the reply to a request with this `Accept`."""
    if PROTOBUF not in accept:
        return MediaType.JSON
    return CONTRACT if _CONTRACT_PARAMETER in accept else DESCRIPTORS


def _known(roll: Roll, model: str, fingerprint: str | None) -> KnownContract:
    status = roll.table.model(ModelName(model))
    if status is None:
        raise UnknownModel(model)
    known = roll.contract(status.name, Fingerprint(fingerprint) if fingerprint else status.fingerprint)
    if known is None:
        raise UnknownModel(f"{model} with fingerprint {fingerprint}")
    return known
