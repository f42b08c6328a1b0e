"""What `hub schema list|show|diff|check` do. Each returns the exit code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from anyio import fail_after
from google.protobuf.json_format import MessageToDict

from hub.cli.ending import explained, fail, redactor
from hub.cli.load import load_model
from hub.cli.schema.render import difference_lines, history_lines, list_lines, schema_facts, verdict
from hub.cli.terminal import console, printable
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.concurrency.process import run_process
from hub.contract import Contract
from hub.contract.compatibility.diff import compare
from hub.contract.source import proto_source
from hub.errors import ConfigurationError, ConnectionLost, HubError, UnknownModel
from hub.http.client import open_client
from hub.model.execution.lifespan import made
from hub.observability.logs import configure_logging
from hub.registry.client.client import RegistryClient
from hub.registry.client.contract_schemas import (
    ContractBody,
    DifferenceBody,
    SchemaBody,
    SchemaDiffBody,
    SchemaHistoryBody,
)
from hub.registry.client.errors import COMPATIBLE_REPAIR, SHORTEST_FINGERPRINT
from hub.settings.links import SchemaSettings
from hub.types import Fingerprint, ModelName, model_name, wall_clock

FINE: Final = 0
BROKEN: Final = 1
NOT_THERE: Final = 2

TIMEOUT: Final = 30.0
"""Seconds for everything that a command asks the registry."""


def run_command(command: Callable[[RegistryClient], Awaitable[int]], settings: SchemaSettings) -> int:
    """Runs a command as the whole process: what went wrong is one line for people, and an exit code for programs."""
    configure_logging(settings.log_level, settings.log_format, redact=redactor(settings))
    code: int | None = None

    async def run() -> None:
        nonlocal code
        try:
            with collapse_exception_group(), fail_after(TIMEOUT):
                async with open_client() as http:
                    code = await command(RegistryClient(settings.registry_url, http, token=settings.token))
        except UnknownModel as unknown:
            code = fail(f"model {unknown.model!r} has never logged in: `hub schema list` shows who has", NOT_THERE)
        except TimeoutError:
            slow = ConnectionLost("the registry", f"no answer within {TIMEOUT:g} s")
            code = fail(explained(slow, settings), slow.exit_code, redact=redactor(settings))
        except HubError as error:
            code = fail(explained(error, settings), error.exit_code, redact=redactor(settings))

    crashed = run_process(run, backend=settings.backend)
    if not crashed and code is None:
        return fail("interrupted", BROKEN)
    return crashed or code or FINE


async def list_schemas(registry: RegistryClient, *, json_wanted: bool) -> int:
    listed = await registry.schemas()
    if json_wanted:
        _print_json(listed)
        return FINE
    out = console()
    for line in list_lines(listed.schemas, width=out.width):
        out.print(line, soft_wrap=True)
    if not listed.schemas:
        out.print("no model has ever logged in at this registry")
    return FINE


async def show_schema(
    registry: RegistryClient, model: ModelName, beginning: str, *, proto_wanted: bool, json_wanted: bool
) -> int:
    history = await registry.schema_history(model)
    known = _named(history, beginning)
    contract = await _contract(registry, model, known.fingerprint)
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
        return FINE
    out = console()
    if not proto_wanted:
        out.print(schema_facts(model, known, now=wall_clock()))
        out.print()
        for line in history_lines(history, known):
            out.print(line, soft_wrap=True)
        out.print()
    source = await in_thread_if_large(size, partial(proto_source, contract))
    for name, text in source.items():
        out.print(printable(f"// {name}\n{text}"), soft_wrap=True)
    return FINE


async def diff_schemas(
    registry: RegistryClient, model: ModelName, earlier: str, later: str, *, json_wanted: bool
) -> int:
    history = await registry.schema_history(model)
    if ":" in earlier and not later:  # a class is the later one, whatever it is compared with
        earlier, later = "", earlier
    if ":" in later:
        new = _contract_of_class(later)[1]
        before = _named(history, earlier)
    else:
        named = _named(history, later)
        new = await _contract(registry, model, named.fingerprint)
        predecessor = history.contracts[max(0, history.contracts.index(named) - 1)]
        before = _named(history, earlier) if earlier else predecessor
    old = await _contract(registry, model, before.fingerprint)
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
        out.print(verdict(body), soft_wrap=True)
    return BROKEN if body.breaks else FINE


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
            out.print(f"{model} could log in: the registry has never seen a model of this name")
        return FINE
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
    return FINE if reply.could_log_in else BROKEN


def _contract_of_class(target: str) -> tuple[ModelName, Contract]:
    """The name and the contract of a model class that can be imported here."""
    model = made(load_model(target))
    return model_name(model.name), Contract.from_descriptors(model.get_request_format(), model.get_response_format())


def _named(history: SchemaHistoryBody, beginning: str) -> ContractBody:
    """The contract whose fingerprint begins so; the present one without."""
    if not beginning:
        return next(known for known in history.contracts if known.present)
    found = [known for known in history.contracts if known.fingerprint.startswith(beginning)]
    if len(found) == 1 and len(beginning) >= SHORTEST_FINGERPRINT:
        return found[0]
    there = ", ".join(known.fingerprint[:12] for known in history.contracts)
    raise ConfigurationError(
        f"{beginning!r} names no contract of {history.model}: give {SHORTEST_FINGERPRINT} digits or more of one of {there}"
    )


async def _contract(registry: RegistryClient, model: ModelName, fingerprint: str) -> Contract:
    contract = await registry.contract(model, Fingerprint(fingerprint))
    if contract is None:
        raise ConnectionLost("the registry", f"it lists contract {fingerprint} of {model} and does not give it")
    return contract


def _print_json(body: msgspec.Struct) -> None:
    console().out(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
