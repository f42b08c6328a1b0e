"""What is alive, with everything that is compiled from its contract."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Final, Protocol, final

import msgspec
import structlog
from anyio import Event

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract
from hub.contract.errors import InvalidContract
from hub.errors import HubError, UnknownModel
from hub.gateway.errors import ModelListUnavailable, ModelLoading, ModelUnavailable
from hub.gateway.models.codec import Codec
from hub.registry.client.snapshot import KnownModel, ModelsSnapshot
from hub.safe_text import full_name, printable
from hub.types import Fingerprint, ModelName

MAX_CODECS: Final = 512
"""Contracts kept compiled: those in use, and former ones whose results may still be asked for."""

LONGEST_GUESS: Final = 64
"""Characters of an unknown name up to which names like it are looked for: no model has a longer one."""

MOST_GUESSES: Final = 200
"""Live models up to which names are compared letter by letter, which takes 10 us each."""

_log = structlog.get_logger("hub.gateway")


class Watch(AsyncIterable[ModelsSnapshot], Protocol):
    """Follows the registry; see `hub.registry.client.watch.ModelWatch`."""

    @property
    def connected(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model with at least one live instance."""

    known: KnownModel
    codec: Codec

    @property
    def name(self) -> ModelName:
        return self.known.name

    @property
    def fingerprint(self) -> Fingerprint:
        return self.known.fingerprint

    @property
    def example(self) -> object:
        """A request to show, as a JSON document: the model's own if it is one, else one made up from the contract."""
        if self.known.example:
            try:
                document = self.known.example.encode()
                self.codec.require_request(document)
                return msgspec.json.decode(document)
            except HubError as error:
                _log.warning("example left out: the model would not take it", model=self.name, reason=str(error))
        return self.codec.example


@final
class Catalog:
    """The models, as the registry last told. It never asks: `follow` waits for what the registry has to tell.

    While the registry is out of reach the last list stands; `connected` says so.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._told = False
        self._known: Mapping[ModelName, KnownModel] = {}
        self._served: dict[ModelName, ServedModel] = {}
        self._codecs: OrderedDict[Fingerprint, Codec] = OrderedDict()
        self._next = Event()

    @property
    def connected(self) -> bool:
        """Whether the list is there and fresh."""
        return self._told and self._watch.connected

    @property
    def known(self) -> Mapping[ModelName, KnownModel]:
        """Every model that the registry remembers, alive or not; empty before it was reached."""
        return self._known

    @property
    def served(self) -> Sequence[ServedModel]:
        """The models that are alive, by name; empty before the registry was reached."""
        return [self._served[name] for name in sorted(self._served)]

    async def follow(self) -> None:
        """Takes in one list after the other. Never returns.

        Raises:
            HubError: The registry refuses us, for example because of a wrong token.
        """
        async for snapshot in self._watch:
            await self._take(snapshot)

    async def changed(self) -> None:
        """Waits for the next list; it may differ in anything, or in nothing that matters to the caller."""
        await self._next.wait()

    def find(self, name: str) -> ServedModel:
        """The model of this name.

        Raises:
            UnknownModel: There never was one.
            ModelLoading: There is one, and no instance of it has finished its `setup`.
            ModelUnavailable: There was one, and no instance of it is alive.
            ModelListUnavailable: The registry has not been reached yet, so nobody can say.
        """
        served = self._served.get(ModelName(name))
        if served is not None:
            return served
        if not self._told:
            raise ModelListUnavailable
        known = self._known.get(ModelName(name))
        if known is None:
            raise UnknownModel(name, self._near(name))
        raise ModelLoading(name, known.loading) if known.loading else ModelUnavailable(name)

    def _near(self, name: str) -> str:
        """The model that is alive whose name is most like this one, whatever its case; empty if none is."""
        by_folded = {served.casefold(): served for served in self._served}
        folded = name.casefold()
        if folded in by_folded or len(name) > LONGEST_GUESS or len(by_folded) > MOST_GUESSES:
            return by_folded.get(folded, "")
        found = get_close_matches(folded, by_folded, n=1)
        return by_folded[found[0]] if found else ""

    def codec(self, fingerprint: Fingerprint) -> Codec | None:
        """What reads messages of this contract, or `None` if this gateway has not seen the contract."""
        return self._codecs.get(fingerprint)

    async def compiled(self, model: ModelName, contract: Contract) -> Codec | None:
        """What reads messages of a contract that the registry has accepted, kept for `codec`; `None` if we cannot."""
        codec = self._codecs.get(contract.fingerprint)
        if codec is None:
            try:
                codec = await in_thread_if_large(len(contract.files) * CONTRACT_WEIGHT, partial(Codec, contract))
            except Exception as error:  # noqa: BLE001 - a contract is foreign data: one must not end what serves the others
                # The registry let it in, so its version of hub may be newer than ours. There is nothing to try again.
                reason = str(error) if isinstance(error, InvalidContract) else f"{full_name(type(error))}: {error}"
                _log.error("its contract cannot be used here", model=model, reason=printable(reason, 500))
                return None
            self._codecs[contract.fingerprint] = codec
            self._forget_the_oldest()
        self._codecs.move_to_end(contract.fingerprint)
        return codec

    async def _take(self, snapshot: ModelsSnapshot) -> None:
        served: dict[ModelName, ServedModel] = {}
        for name, known in snapshot.models.items():
            codec = await self.compiled(name, known.contract)
            if codec is not None and known.live:
                served[name] = ServedModel(known=known, codec=codec)
        for name in served.keys() - self._served.keys():
            _log.info("model is alive", model=name, instances=served[name].known.live)
        for name in self._served.keys() - served.keys():
            _log.info("model is gone", model=name)
        self._known, self._served, self._told = snapshot.models, served, True
        self._forget_the_oldest()
        told, self._next = self._next, Event()
        told.set()

    def _forget_the_oldest(self) -> None:
        while len(self._codecs) > max(MAX_CODECS, len(self._known)):
            self._codecs.popitem(last=False)
