"""The registry's database in Redis, whichever client library carries the commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import partial
from typing import Final, Self, final

import msgspec
import structlog
from anyio import AsyncContextManagerMixin
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract.contract import Contract
from hub.directories.redis import values
from hub.errors import NotYourInstance, RegistryFull, Undecodable
from hub.ports.directory import (
    HISTORY_LENGTH,
    Directory,
    DirectoryChanges,
    HistoryEvent,
    InstanceEntry,
    LeaseSet,
    LoginLimits,
    RegisteredContract,
    StatusUpdate,
    StoredInstance,
)
from hub.redis.client import RedisClient
from hub.redis.connection import Arg, Command, Connector, Reply
from hub.redis.eviction import warn_of_eviction
from hub.redis.script import Script, load_script
from hub.safe_text import printable
from hub.types import Fingerprint, InstanceId, RegistryId

TIMEOUT: Final = 2.0
"""Seconds that a call waits for a lost connection to come back before it ends in `ConnectionLost`."""

_log = structlog.get_logger("hub.directories")

_LUA: Final = "hub.directories.redis.lua"
_LOGIN: Final = load_script(_LUA, "common", "login")
_LOGOUT: Final = load_script(_LUA, "common", "logout")
_LEASE: Final = load_script(_LUA, "common", "lease")
_CLAIM: Final = load_script(_LUA, "common", "claim")
_REPORT: Final = load_script(_LUA, "common", "report")
_CHANGES_SINCE: Final = load_script(_LUA, "common", "changes_since")
_STORED: Final = load_script(_LUA, "common", "stored")
_FORGET: Final = load_script(_LUA, "common", "forget")
_FORGET_AT_ONCE: Final = 500

_LIMITS: Final = tuple(field.name for field in fields(LoginLimits))

_PARTS: Final = (
    "instances",
    "names",
    "contracts",
    "leases",
    "health",
    "registries",
    "changes",
    "revision",
    "history",
    "unused",
    "weight",
)
_KEYS: Final = tuple(f"hub:{{directory}}:{part}" for part in _PARTS)
_INSTANCES, _, _CONTRACTS, _, _, _REGISTRIES, _CHANGES, _REVISION, _HISTORY, _UNUSED, _WEIGHT = _KEYS

_TYPES: Final = {
    _REGISTRIES: "zset",
    _CHANGES: "zset",
    _REVISION: "string",
    _HISTORY: "list",
    _UNUSED: "zset",
    _WEIGHT: "string",
}
"""Redis types of the keys that are no hashes."""

MAX_LOGGED: Final = 1000
"""Unreadable values that are remembered as logged, so that a directory full of them takes no memory."""


@final
class RedisDirectory(Directory, AsyncContextManagerMixin):
    """Everything as JSON under keys of one hash slot; see `hub.directories.redis.lua`."""

    def __init__(self, connector: Connector) -> None:
        self._client = RedisClient(connector, timeout=TIMEOUT)
        self._known: dict[bytes, RegisteredContract] = {}
        self._logged: set[tuple[str, str, str]] = set()

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Enters once the server has answered.

        Raises:
            ConnectionLost: It cannot be reached.
            ConfigurationError: It does not accept the credentials, or the client library cannot run on this backend.
        """
        with collapse_exception_group():
            async with self._client:
                await warn_of_eviction(self._client)
                yield self

    @override
    async def login(
        self,
        entry: InstanceEntry,
        contract: Contract,
        *,
        compatible_with: Collection[Fingerprint] = (),
        proof: str = "",
        limits: LoginLimits | None = None,
    ) -> Fingerprint | None:
        stored = values.contract_to_json(entry, contract)
        encoded = msgspec.json.encode(entry)
        args: Sequence[Arg] = (entry.id, encoded, entry.model, entry.fingerprint, stored, proof)
        bounds = dict.fromkeys(_LIMITS, 0) if limits is None else {name: getattr(limits, name) for name in _LIMITS}
        args = (*args, *bounds.values(), *compatible_with)
        match await self._run(_LOGIN, args):
            case None:
                return None
            case bytes() as reply if b" " not in reply:
                return Fingerprint(reply.decode())
            case b"foreign instance":
                raise NotYourInstance(entry.id)
            case bytes() as reply if reply.startswith(b"full "):
                setting = reply.removeprefix(b"full ").decode()
                raise RegistryFull(setting, bounds[setting])
            case reply:
                raise Undecodable("directory entry", repr(reply))

    @override
    async def logout(self, instance: InstanceId, event: HistoryEvent | None = None) -> bool:
        reply = await self._run(_LOGOUT, (instance, b"" if event is None else msgspec.json.encode(event)))
        if not isinstance(reply, int):
            raise Undecodable("directory entry", repr(reply))
        return reply == 1

    @override
    async def instances(self) -> Sequence[InstanceEntry]:
        found = values.entries_of(await self._read(("HVALS", _INSTANCES)), self._unreadable)
        return sorted(found, key=lambda entry: (entry.logged_in_at, entry.id))

    @override
    async def instance_ids(self) -> Collection[InstanceId]:
        names = await self._read(("HKEYS", _INSTANCES))
        return {InstanceId(name.decode(errors="replace")) for name in names}

    @override
    async def stored(self, instances: Collection[InstanceId]) -> Sequence[StoredInstance]:
        if not instances:
            return []
        return values.changes_of(await self._run(_STORED, tuple(instances)), self._unreadable).instances

    @override
    async def contracts(self) -> Sequence[RegisteredContract]:
        # They never change, so each is transferred and checked once.
        names = await self._read(("HKEYS", _CONTRACTS))
        known = {name: self._known[name] for name in names if name in self._known}
        unknown = [name for name in names if name not in known]
        if unknown:
            (reply,) = self._client.accepted(await self._client.call([("HMGET", _CONTRACTS, *unknown)]))
            for name, value in zip(unknown, values.items(reply), strict=True):
                if value is None:  # removed since
                    continue
                text = values.text(value)
                read = partial(values.contract_of_json, text)
                try:
                    known[name] = await in_thread_if_large(CONTRACT_WEIGHT * len(text), read)
                except Exception as error:  # noqa: BLE001 - foreign data: one contract must not end the registry of all others
                    self._unreadable("contract", name, error)
        self._known = known
        return sorted(known.values(), key=lambda one: (one.first_seen_at, one.first_seen_from))

    @override
    async def forget(self, ttl: float) -> int:
        dropped = 0
        while True:  # each call is short: the server does nothing else meanwhile
            more = values.number(await self._run(_FORGET, (round(ttl * 1000), _FORGET_AT_ONCE)))
            dropped += more
            if more < _FORGET_AT_ONCE:
                return dropped

    @override
    async def lease(self, registry: RegistryId, *, ttl: float, standby: bool = False) -> LeaseSet:
        reply = await self._run(_LEASE, (registry, round(ttl * 1000), int(standby)))
        return values.leases_of(reply, self._unreadable)

    @override
    async def claim(
        self, registry: RegistryId, instances: Collection[InstanceId], *, ttl: float
    ) -> Mapping[InstanceId, int]:
        reply = await self._run(_CLAIM, (registry, round(ttl * 1000), *instances))
        return values.tokens_of(reply, self._unreadable)

    @override
    async def release(self, registry: RegistryId) -> None:
        self._client.accepted(await self._client.call([("ZREM", _REGISTRIES, registry)]))

    @override
    async def report(self, updates: Sequence[StatusUpdate]) -> Sequence[bool]:
        if not updates:
            return []
        words: list[Arg] = []
        for report in updates:
            health = b"" if report.health is None else msgspec.json.encode(report.health)
            words += (report.instance, report.token, health, len(report.events))
            words += map(msgspec.json.encode, report.events)
        return [answer == 1 for answer in values.items(await self._run(_REPORT, words))]

    @override
    async def changes_since(self, revision: int, *, reader: RegistryId | None = None) -> DirectoryChanges:
        reply = await self._run(_CHANGES_SINCE, (revision, reader or ""))
        return values.changes_of(reply, self._unreadable)

    @override
    async def history(self, limit: int) -> Sequence[HistoryEvent]:
        last = min(limit, HISTORY_LENGTH) - 1
        texts = await self._read(("LRANGE", _HISTORY, 0, last)) if last >= 0 else []
        return values.history_of(texts, self._unreadable)

    def _unreadable(self, kind: str, name: Reply, error: Exception) -> None:
        """Logs once what is left out, not with each read."""
        one = (kind, printable(repr(name), 200), printable(str(error) or repr(error), 500))
        if one in self._logged:
            return
        if len(self._logged) >= MAX_LOGGED:
            self._logged.clear()
        self._logged.add(one)
        _log.error("a value of the directory cannot be read, and is left out", kind=one[0], name=one[1], reason=one[2])

    async def _run(self, script: Script, args: Sequence[Arg]) -> Reply:
        try:
            (reply,) = await self._client.run(script, [script.by_digest(_KEYS, args)])
        except Undecodable as error:
            raise await self._explained(error) from error
        return reply

    async def _read(self, command: Command) -> list[bytes]:
        try:
            (reply,) = self._client.accepted(await self._client.call([command]))
        except Undecodable as error:
            raise await self._explained(error) from error
        return [values.text(value) for value in values.items(reply)]

    async def _explained(self, error: Undecodable) -> Undecodable:
        """The error with the keys that hold a value of another type than hub keeps there; the server names none."""
        kinds = await self._client.call([("TYPE", key) for key in _KEYS])
        wrong = [
            f"{key} ({kind.decode(errors='replace')}, to be a {_TYPES.get(key, 'hash')})"
            for key, kind in zip(_KEYS, kinds, strict=True)
            if isinstance(kind, bytes) and kind.decode(errors="replace") not in {"none", _TYPES.get(key, "hash")}
        ]
        return Undecodable("directory", f"another type is under {', '.join(wrong)}") if wrong else error
