"""The commands `hub schema list|show|diff|check`. Each returns the exit code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from google.protobuf.json_format import MessageToDict

from hub.cli.command import EXIT_INCOMPATIBLE, EXIT_NOT_FOUND, EXIT_OK, fail
from hub.cli.load import load_model
from hub.cli.schema.render import difference_lines, history_lines, list_lines, schema_table, summary
from hub.cli.terminal import console, printable
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.concurrency.timeouts import connection_timeout
from hub.contract import Contract
from hub.contract.compatibility.diff import compare
from hub.contract.source import proto_source
from hub.errors import ConfigurationError, ConnectionLost, UnknownModel
from hub.http.client import open_client
from hub.model.execution.lifespan import create_model
from hub.registry.client.client import RegistryClient
from hub.registry.client.contract_schemas import (
    ContractBody,
    DifferenceBody,
    SchemaBody,
    SchemaDiffBody,
    SchemaHistoryBody,
)
from hub.registry.client.errors import COMPATIBLE_REPAIR, SHORTEST_FINGERPRINT
from hub.settings.connections import SchemaSettings
from hub.types import Fingerprint, ModelName, model_name, wall_clock

TIMEOUT: Final = 30.0
"""Seconds for all requests of a command to the registry."""


async def with_registry(command: Callable[[RegistryClient], Awaitable[int]], settings: SchemaSettings) -> int:
    """Runs a command with a client of the registry, within `TIMEOUT`; returns its exit code.

    Raises:
        ConnectionLost: The registry did not answer in time.
    """
    try:
        with collapse_exception_group(), connection_timeout("the registry", TIMEOUT):
            async with open_client() as http:
                return await command(RegistryClient(settings.registry_url, http, token=settings.token))
    except UnknownModel as unknown:
        return fail(
            f"model {unknown.model!r} has never logged in: `hub schema list` shows the known ones", EXIT_NOT_FOUND
        )


async def list_schemas(registry: RegistryClient, *, json_wanted: bool) -> int:
    listed = await registry.schemas()
    if json_wanted:
        _print_json(listed)
        return EXIT_OK
    out = console()
    for line in list_lines(listed.schemas, width=out.width):
        out.print(line, soft_wrap=True)
    if not listed.schemas:
        out.print("no model has ever logged in at this registry")
    return EXIT_OK


async def show_schema(
    registry: RegistryClient, model: ModelName, beginning: str, *, proto_wanted: bool, json_wanted: bool
) -> int:
    history = await registry.schema_history(model)
    known = _find(history, beginning)
    contract = await _fetch(registry, model, known.fingerprint)
    size = CONTRACT_WEIGHT * len(contract.files)
    if json_wanted:
        _print_json(
            SchemaBody(
                model=model,
                fingerprint=known.fingerprint,
                request=known.request,
                response=known.response,
                first_seen_at=known.first_seen_at,
                first_seen_from=known.first_seen_from,
                descriptors=await in_thread_if_large(size, partial(MessageToDict, contract.descriptors)),
            )
        )
        return EXIT_OK
    out = console()
    if not proto_wanted:
        out.print(schema_table(model, known, now=wall_clock()))
        out.print()
        for line in history_lines(history, known):
            out.print(line, soft_wrap=True)
        out.print()
    comments = await _comments(registry, model, known.fingerprint)
    source = await in_thread_if_large(size, partial(proto_source, contract, comments))
    for name, text in source.items():
        out.print(printable(f"// {name}\n{text}"), soft_wrap=True)
    return EXIT_OK


async def _comments(registry: RegistryClient, model: ModelName, fingerprint: str) -> dict[str, str]:
    """The comments on the present contract of a model with instances; earlier ones are not kept."""
    present = (await registry.models()).models.get(model)
    return dict(present.comments) if present is not None and present.fingerprint == fingerprint else {}


async def diff_schemas(
    registry: RegistryClient, model: ModelName, earlier: str, later: str, *, json_wanted: bool
) -> int:
    history = await registry.schema_history(model)
    if ":" in earlier and not later:  # a class is the later one, also as the only argument
        earlier, later = "", earlier
    if ":" in later:
        new = _contract_of_class(later)[1]
        before = _find(history, earlier)
    else:
        named = _find(history, later)
        new = await _fetch(registry, model, named.fingerprint)
        predecessor = history.contracts[max(0, history.contracts.index(named) - 1)]
        before = _find(history, earlier) if earlier else predecessor
    old = await _fetch(registry, model, before.fingerprint)
    size = CONTRACT_WEIGHT * (len(old.files) + len(new.files))
    findings = await in_thread_if_large(size, partial(compare, old, new))
    found = tuple(DifferenceBody.of(finding) for finding in findings)
    body = SchemaDiffBody(
        model=model,
        from_=old.fingerprint,
        to=new.fingerprint,
        breaks=any(each.breaks for each in found),
        differences=found,
    )
    if json_wanted:
        _print_json(body)
    else:
        out = console()
        for line in difference_lines(body.differences):
            out.print(line, soft_wrap=True)
        out.print(summary(body), soft_wrap=True)
    return EXIT_INCOMPATIBLE if body.breaks else EXIT_OK


async def check_model(registry: RegistryClient, target: str, *, json_wanted: bool) -> int:
    model, contract = _contract_of_class(target)
    out = console()
    try:
        reply = await registry.check(model, contract)
    except UnknownModel:
        if json_wanted:
            out.out(
                msgspec.json.format(msgspec.json.encode({"model": model, "could_log_in": True, "new": True})).decode()
            )
        else:
            out.print(f"{model} could log in: the registry knows no model of this name")
        return EXIT_OK
    if json_wanted:
        _print_json(reply)
    else:
        for line in difference_lines(reply.differences):
            out.print(line, soft_wrap=True)
        could = "could" if reply.could_log_in else "could not"
        out.print(
            f"an instance of {model} with contract {reply.fingerprint[:12]} {could} log in beside those with the present "
            f"contract {reply.known_fingerprint[:12]} (contract mode {reply.mode})",
            soft_wrap=True,
        )
        if reply.compatible and not reply.could_log_in and reply.mode == "strict":
            out.print(COMPATIBLE_REPAIR, soft_wrap=True)
    return EXIT_OK if reply.could_log_in else EXIT_INCOMPATIBLE


def _contract_of_class(target: str) -> tuple[ModelName, Contract]:
    """The name and the contract of a model class."""
    model = create_model(load_model(target))
    formats = model.get_request_format(), model.get_response_format()
    return model_name(model.name), Contract.from_descriptors(*formats, streaming=model.streaming)


def _find(history: SchemaHistoryBody, beginning: str) -> ContractBody:
    """The contract whose fingerprint has this beginning; the present one if it is empty.

    Raises:
        ConfigurationError: The beginning is too short, or not that of exactly one contract.
    """
    if not beginning:
        return next(known for known in history.contracts if known.present)
    found = [known for known in history.contracts if known.fingerprint.startswith(beginning)]
    if len(found) == 1 and len(beginning) >= SHORTEST_FINGERPRINT:
        return found[0]
    there = ", ".join(known.fingerprint[:12] for known in history.contracts)
    raise ConfigurationError(
        f"{beginning!r} names no contract of {history.model}: give {SHORTEST_FINGERPRINT} digits or more of one of {there}"
    )


async def _fetch(registry: RegistryClient, model: ModelName, fingerprint: str) -> Contract:
    contract = await registry.contract(model, Fingerprint(fingerprint))
    if contract is None:
        raise ConnectionLost("the registry", f"it lists contract {fingerprint} of {model} but does not return it")
    return contract


def _print_json(body: msgspec.Struct) -> None:
    console().out(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
