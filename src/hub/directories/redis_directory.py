"""The registry's database in Redis, whichever client library carries the commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self, TypeVar, final

import msgspec
from anyio import AsyncContextManagerMixin
from typing_extensions import override

from hub.contract.contract import Contract
from hub.contract.errors import InvalidContract
from hub.errors import Undecodable
from hub.ports import Directory, InstanceEntry, KnownContract
from hub.redis.client import RedisClient
from hub.redis.eviction import warn_of_eviction
from hub.redis.link import Command, LinkOpener, Reply
from hub.redis.script import load_script
from hub.supervision import unwrapped
from hub.vocabulary import Fingerprint, InstanceId, ModelName

PATIENCE: Final = 2.0
"""Seconds that a call waits for a lost link to come back before it ends in `LinkLost`."""

_LUA: Final = "hub.directories.lua"
_LOGIN: Final = load_script(_LUA, "common", "login")
_LOGOUT: Final = load_script(_LUA, "common", "logout")

_INSTANCES: Final = "hub:{directory}:instances"
_CONTRACTS: Final = "hub:{directory}:contracts"
_KEYS: Final = (_INSTANCES, "hub:{directory}:names", _CONTRACTS)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredContract:
    """A `KnownContract` in JSON; `contract` is a serialized `hub.v1.Contract`, in base64 there."""

    model: ModelName
    contract: bytes
    first_seen_at: float
    first_seen_from: InstanceId


@final
class RedisDirectory(Directory, AsyncContextManagerMixin):
    """Instances and contracts as JSON in hashes; see `hub.directories.lua` for the keys."""

    def __init__(self, links: LinkOpener) -> None:
        self._client = RedisClient(links, patience=PATIENCE)
        self._known: dict[bytes, KnownContract] = {}

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Enters once the server has answered.

        Raises:
            LinkLost: It cannot be reached.
            ConfigurationError: It does not accept the credentials, or the client library cannot run on this backend.
        """
        with unwrapped():
            async with self._client:
                await warn_of_eviction(self._client)
                yield self

    @override
    async def login(self, entry: InstanceEntry, contract: Contract) -> Fingerprint | None:
        stored = _StoredContract(
            model=entry.model,
            contract=contract.encode(),
            first_seen_at=entry.logged_in_at,
            first_seen_from=entry.id,
        )
        args = (entry.id, msgspec.json.encode(entry), entry.model, entry.fingerprint, msgspec.json.encode(stored))
        (reply,) = await self._client.run(_LOGIN, [_LOGIN.by_digest(_KEYS, args)])
        match reply:
            case None:
                return None
            case bytes() if b" " not in reply:
                return Fingerprint(reply.decode())
            case _:
                raise Undecodable("directory entry", repr(reply))

    @override
    async def logout(self, instance: InstanceId) -> bool:
        (reply,) = await self._client.run(_LOGOUT, [_LOGOUT.by_digest(_KEYS, (instance,))])
        if not isinstance(reply, int):
            raise Undecodable("directory entry", repr(reply))
        return reply == 1

    @override
    async def instances(self) -> Sequence[InstanceEntry]:
        found = [_decoded(value, InstanceEntry) for value in await self._read(("HVALS", _INSTANCES))]
        return sorted(found, key=lambda entry: (entry.logged_in_at, entry.id))

    @override
    async def contracts(self) -> Sequence[KnownContract]:
        # They never change, so each is transferred and checked once.
        names = await self._read(("HKEYS", _CONTRACTS))
        known = {name: self._known[name] for name in names if name in self._known}
        unknown = [name for name in names if name not in known]
        if unknown:
            values = await self._read(("HMGET", _CONTRACTS, *unknown))
            known.update(zip(unknown, map(_known_contract, values), strict=True))
        self._known = known
        return sorted(known.values(), key=lambda one: (one.first_seen_at, one.first_seen_from))

    async def _read(self, command: Command) -> list[bytes]:
        (reply,) = self._client.accepted(await self._client.call([command]))
        if not isinstance(reply, Sequence) or isinstance(reply, bytes):
            raise Undecodable("directory", repr(reply))
        return [_bytes(value) for value in reply]


def _bytes(value: Reply) -> bytes:
    if not isinstance(value, bytes):
        raise Undecodable("directory", repr(value))
    return value


def _known_contract(value: bytes) -> KnownContract:
    stored = _decoded(value, _StoredContract)
    try:
        contract = Contract.decode(stored.contract)
    except InvalidContract as error:
        raise Undecodable("hub.v1.Contract", str(error)) from error
    return KnownContract(
        model=stored.model,
        contract=contract,
        first_seen_at=stored.first_seen_at,
        first_seen_from=stored.first_seen_from,
    )


def _decoded(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise Undecodable(kind.__name__, str(error)) from error
