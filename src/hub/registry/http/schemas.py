"""The current and earlier contracts of models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from google.protobuf.json_format import MessageToDict
from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract
from hub.contract.compatibility.diff import Change, compare
from hub.errors import UnknownModel
from hub.http.conditional import conditional_reply
from hub.http.headers import etag_matches
from hub.http.media_types import require_json
from hub.ports.directory import RegisteredContract
from hub.registry.client.contract_schemas import (
    CheckBody,
    CheckReply,
    ContractBody,
    DifferenceBody,
    SchemaBody,
    SchemaDiffBody,
    SchemaHistoryBody,
    SchemasBody,
    SchemaSummary,
)
from hub.registry.client.errors import SHORTEST_FINGERPRINT, UnknownContract
from hub.registry.client.schemas import CONTRACT, DESCRIPTORS, PROTOBUF
from hub.registry.client.views import ModelStatus
from hub.registry.core.contracts import weight
from hub.registry.core.state import RegistryState
from hub.registry.http.responses import INVALID, NOT_JSON, UNKNOWN_CONTRACT, UNKNOWN_MODEL, response_spec
from hub.types import Fingerprint, ModelName

_CONTRACT_PARAMETER: Final = CONTRACT.rpartition(" ")[2]

_SUFFIXES: Final = {MediaType.JSON: "", DESCRIPTORS: ".binary", CONTRACT: ".contract"}
"""What tells the ETags of the forms of one contract apart."""

_UNCHANGED: Final = response_spec(None, "It is what `If-None-Match` names.")

_BEGINNING: Final = f"or its first {SHORTEST_FINGERPRINT} digits or more"


@get(
    "/v1/schemas",
    summary="List the contracts of all models",
    responses={200: response_spec(SchemasBody, "Models by name."), 304: _UNCHANGED},
    tags=["schemas"],
)
async def list_schemas(request: Request[Any, Any, Any], registry: NamedDependency[RegistryState]) -> Response[bytes]:
    """Every known model with its current contract, and the number of contracts that it has had."""
    return _tagged(
        request,
        SchemasBody(
            mode=registry.contracts.mode, schemas=tuple(_summary(model, registry) for model in registry.models())
        ),
    )


@get(
    "/v1/schemas/{model:str}",
    summary="Show the contract of a model",
    responses={
        200: response_spec(
            SchemaBody,
            f"Or, by `Accept: {PROTOBUF}`, a binary FileDescriptorSet, and by `Accept: {CONTRACT}` a hub.v1.Contract.",
        ),
        304: _UNCHANGED,
        404: UNKNOWN_CONTRACT,
    },
    tags=["schemas"],
)
async def show_schema(
    request: Request[Any, Any, Any],
    model: FromPath[str],
    registry: NamedDependency[RegistryState],
    fingerprint: Annotated[
        str | None,
        QueryParameter(description=f"An earlier contract of the model, {_BEGINNING}; without it, the present one."),
    ] = None,
) -> Response[bytes]:
    """The `FileDescriptorSet` of its request and response message and all that they refer to."""
    known = _known(registry, model, fingerprint)
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
        return Response(contract.descriptors.SerializeToString(), media_type=DESCRIPTORS, headers=headers)
    content = await in_thread_if_large(weight(contract), partial(_schema, known))
    return Response(content, media_type=MediaType.JSON, headers=headers)


def _schema(known: RegisteredContract) -> bytes:
    contract = known.contract
    body = SchemaBody(
        model=known.model,
        fingerprint=contract.fingerprint,
        request=contract.request,
        response=contract.response,
        streaming=contract.streaming,
        first_seen_at=known.first_seen_at,
        first_seen_from=known.first_seen_from,
        descriptors=MessageToDict(contract.descriptors),
    )
    return msgspec.json.encode(body)


@get(
    "/v1/schemas/{model:str}/history",
    summary="List all contracts that a model has had",
    responses={200: response_spec(SchemaHistoryBody, "Contracts, oldest first."), 304: _UNCHANGED, 404: UNKNOWN_MODEL},
    tags=["schemas"],
)
async def schema_history(
    request: Request[Any, Any, Any], model: FromPath[str], registry: NamedDependency[RegistryState]
) -> Response[bytes]:
    """Every contract that was ever accepted: when, from which instance, and how many instances have it now."""
    status = _status(registry, model)
    counts = Counter(instance.entry.fingerprint for instance in status.instances)
    contracts = tuple(
        ContractBody.of(
            known,
            present=known.contract.fingerprint == status.fingerprint,
            instances=counts[known.contract.fingerprint],
        )
        for known in registry.contracts.of(status.name)
    )
    return _tagged(request, SchemaHistoryBody(model=status.name, contracts=contracts))


@get(
    "/v1/schemas/{model:str}/diff",
    summary="Compare two contracts of a model",
    responses={
        200: response_spec(SchemaDiffBody, "The differences, those that break first."),
        304: _UNCHANGED,
        404: UNKNOWN_CONTRACT,
    },
    tags=["schemas"],
)
async def diff_schemas(
    request: Request[Any, Any, Any],
    model: FromPath[str],
    registry: NamedDependency[RegistryState],
    before: Annotated[
        str | None,
        QueryParameter(
            name="from", description=f"A contract of the model, {_BEGINNING}; without it, the one accepted before `to`."
        ),
    ] = None,
    to: Annotated[
        str | None,
        QueryParameter(description=f"A contract of the model, {_BEGINNING}; without it, the present one."),
    ] = None,
) -> Response[bytes]:
    """What the later contract does otherwise than the earlier one, with the rule of Buf (WIRE_JSON) that it breaks."""
    later = _known(registry, model, to)
    earlier = _known(registry, model, before) if before else _predecessor(registry, later)
    found = await _compared(earlier.contract, later.contract)
    return _tagged(
        request,
        SchemaDiffBody(
            model=later.model,
            from_=earlier.contract.fingerprint,
            to=later.contract.fingerprint,
            breaks=any(finding.breaks for finding in found),
            differences=tuple(DifferenceBody.of(finding) for finding in found),
        ),
    )


@post(
    "/v1/schemas/{model:str}/check",
    summary="Check a contract against a model's",
    guards=[require_json],
    responses={404: UNKNOWN_MODEL, 415: NOT_JSON, 422: INVALID},
    status_code=200,
    tags=["schemas"],
)
async def check_schema(
    model: FromPath[str], data: JSONBody[CheckBody], registry: NamedDependency[RegistryState]
) -> CheckReply:
    """Whether an instance with this contract could log in while the present instances of the model are up.

    For a build pipeline: it finds a changed message before a deployment does. When the model has no instance, its last
    contract stands for them.
    """
    status = _status(registry, model)
    known = registry.current_contract(status)
    decode = partial(Contract.decode, data.contract)
    contract = await in_thread_if_large(CONTRACT_WEIGHT * len(data.contract), decode)
    found = await _compared(known.contract, contract)
    await registry.contracts.compare_all(status.name, contract)
    up = {instance.entry.fingerprint for instance in status.instances} or {status.fingerprint}
    return CheckReply(
        mode=registry.contracts.mode,
        could_log_in=up <= {contract.fingerprint} | registry.contracts.compatible_with(status.name, contract, up),
        compatible=not any(finding.breaks for finding in found),
        fingerprint=contract.fingerprint,
        known_fingerprint=known.contract.fingerprint,
        differences=tuple(DifferenceBody.of(finding) for finding in found),
    )


async def _compared(known: Contract, new: Contract) -> Sequence[Change]:
    return await in_thread_if_large(weight(known, new), partial(compare, known, new))


def _tagged(request: Request[Any, Any, Any], body: msgspec.Struct) -> Response[bytes]:
    return conditional_reply(request, msgspec.json.encode(body))


def _form(accept: str) -> str:
    """The media type of the reply to a request with this `Accept`."""
    if PROTOBUF not in accept:
        return MediaType.JSON
    return CONTRACT if _CONTRACT_PARAMETER in accept else DESCRIPTORS


def _summary(status: ModelStatus, registry: RegistryState) -> SchemaSummary:
    known = registry.current_contract(status)
    return SchemaSummary(
        model=status.name,
        active=status.active,
        fingerprint=known.contract.fingerprint,
        request=known.contract.request,
        response=known.contract.response,
        first_seen_at=known.first_seen_at,
        first_seen_from=known.first_seen_from,
        contracts=len(registry.contracts.of(status.name)),
        streaming=known.contract.streaming,
    )


def _status(registry: RegistryState, model: str) -> ModelStatus:
    status = registry.model(ModelName(model))
    if status is None:
        raise UnknownModel(model)
    return status


def _known(registry: RegistryState, model: str, fingerprint: str | None) -> RegisteredContract:
    """A contract by its fingerprint, or the beginning of one; the present one without."""
    status = _status(registry, model)
    if not fingerprint:
        return registry.current_contract(status)
    exact = registry.contracts.get(status.name, Fingerprint(fingerprint))
    if exact is not None:
        return exact
    contracts = registry.contracts.of(status.name)
    matching = [known for known in contracts if known.contract.fingerprint.startswith(fingerprint)]
    if len(matching) != 1 or len(fingerprint) < SHORTEST_FINGERPRINT:
        raise UnknownContract(model, fingerprint, [known.contract.fingerprint for known in contracts])
    return matching[0]


def _predecessor(registry: RegistryState, later: RegisteredContract) -> RegisteredContract:
    """The contract that was accepted before this one; the first one is its own."""
    contracts = registry.contracts.of(later.model)
    return contracts[max(0, contracts.index(later) - 1)]
