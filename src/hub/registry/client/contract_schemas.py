"""The JSON bodies of the routes below `/v1/schemas`, shared by both sides. Times are Unix seconds."""

from __future__ import annotations

from typing import Self

from msgspec import Struct, field

from hub.contract.compatibility.diff import Change
from hub.ports.directory import RegisteredContract


class SchemaBody(Struct, frozen=True, kw_only=True):
    """A contract of a model; `descriptors` is its `google.protobuf.FileDescriptorSet` as ProtoJSON.

    `streaming`: the response is a stream of messages instead of one.
    """

    model: str
    fingerprint: str
    request: str
    response: str
    streaming: bool = False
    first_seen_at: float
    first_seen_from: str
    descriptors: dict[str, object]


class SchemaSummary(Struct, frozen=True, kw_only=True):
    """A model with its present contract.

    Attributes:
        active: Whether it has a live instance.
        fingerprint: Of the contract that requests are written for now, or were when it was last up.
        request: Full name of the request message.
        response: Full name of the response message.
        first_seen_at: When that contract was first accepted.
        first_seen_from: The instance that brought it.
        contracts: How many contracts the model has had.
        streaming: Whether its response is a stream of messages instead of one.
    """

    model: str
    active: bool
    fingerprint: str
    request: str
    response: str
    first_seen_at: float
    first_seen_from: str
    contracts: int
    streaming: bool = False


class SchemasBody(Struct, frozen=True, kw_only=True):
    """Every model that has logged in at some time, by name. `mode` is the registry's `contract_mode`."""

    mode: str
    schemas: tuple[SchemaSummary, ...]


class ContractBody(Struct, frozen=True, kw_only=True):
    """A contract that was accepted.

    Attributes:
        first_seen_at: When, the first time.
        first_seen_from: The instance that brought it.
        present: Whether it is the one that requests are written for now, or were when the model was last up.
        instances: How many instances with it are listed now.
        streaming: Whether its response is a stream of messages instead of one.
    """

    fingerprint: str
    request: str
    response: str
    first_seen_at: float
    first_seen_from: str
    present: bool
    instances: int
    streaming: bool = False

    @classmethod
    def of(cls, known: RegisteredContract, *, present: bool, instances: int) -> Self:
        contract = known.contract
        return cls(
            fingerprint=contract.fingerprint,
            request=contract.request,
            response=contract.response,
            first_seen_at=known.first_seen_at,
            first_seen_from=known.first_seen_from,
            present=present,
            instances=instances,
            streaming=contract.streaming,
        )


class SchemaHistoryBody(Struct, frozen=True, kw_only=True):
    """Every contract that a model has had, oldest first."""

    model: str
    contracts: tuple[ContractBody, ...]


class DifferenceBody(Struct, frozen=True, kw_only=True):
    """One thing that differs between two contracts.

    Attributes:
        path: The full name of a message, field, enum or enum value, the name of a file, `request`, `response` or
            `response stream`.
        rule: Buf's rule that it breaks, of the category WIRE_JSON; empty if it breaks none.
        breaks: Whether it breaks those who know the earlier contract only.
        message: One sentence for people, with both sides.
    """

    path: str
    rule: str
    breaks: bool
    message: str

    @classmethod
    def of(cls, finding: Change) -> Self:
        return cls(path=finding.path, rule=finding.rule, breaks=finding.breaks, message=finding.message)


class SchemaDiffBody(Struct, frozen=True, kw_only=True):
    """What a contract of a model does otherwise than another one. `breaks`: at least one difference does."""

    model: str
    from_: str = field(name="from")
    to: str
    breaks: bool
    differences: tuple[DifferenceBody, ...]


class CheckBody(Struct, frozen=True, kw_only=True):
    """A contract to hold against the one that is known. `contract` is a serialized `hub.v1.Contract`, as base64."""

    contract: bytes


class CheckReply(Struct, frozen=True, kw_only=True):
    """Whether an instance with a contract could log in beside the present instances of the model.

    Attributes:
        mode: The registry's `contract_mode`, which decides what could log in.
        could_log_in: In strict mode only the same contract could, in compatible mode one that breaks none of theirs.
        compatible: Whether it breaks the present contract by none of the rules, whatever the mode.
        fingerprint: Of the contract that was sent.
        known_fingerprint: Of the present contract, to which it was compared.
        differences: What it does otherwise than the present contract.
    """

    mode: str
    could_log_in: bool
    compatible: bool
    fingerprint: str
    known_fingerprint: str
    differences: tuple[DifferenceBody, ...]
