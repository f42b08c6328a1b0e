"""The models that the registry knows, and which of them are alive."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Protocol, final

import msgspec
import structlog
from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.errors import HubError, ModelUnavailable, UnknownModel
from hub.gateway.models.codec import Codec, CodecResolver
from hub.registry.client.snapshot import KnownModel, ModelsSnapshot
from hub.types import Fingerprint, ModelName

LONGEST_GUESS: Final = 64
"""Characters of an unknown name up to which similar names are searched: no model has a longer one."""

MOST_GUESSES: Final = 200
"""Live models up to which names are compared letter by letter, which takes 10 us each."""

_log = structlog.get_logger("hub.gateway")


@final
class ModelLoading(HubError):
    """Instances of the model are logged in, and none is ready yet: their `setup` may still be running."""

    code = "model_loading"
    status = 503
    title = "The model is loading"

    def __init__(self, model: str, instances: int) -> None:
        super().__init__(model, instances)
        self.model = model
        self.instances = instances

    @override
    def __str__(self) -> str:
        return (
            f"{self.model!r} has logged in and is not ready yet ({self.instances} loading; a setup, if it has one, may "
            "still be running); try again in a few seconds"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"loading": self.instances}

    @property
    @override
    def retry_after(self) -> float | None:
        return 5.0


@final
class ModelListUnavailable(HubError):
    """The registry has not answered since this gateway started, so the gateway knows no model."""

    code = "registry_unreachable"
    status = 503
    title = "The registry is out of reach"

    @override
    def __str__(self) -> str:
        return "this gateway has not reached the registry since it started"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


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
        """A request as a JSON document: the model's own if it is valid, else one that is derived from the contract."""
        if self.known.example:
            try:
                document = self.known.example.encode()
                self.codec.check_request(document)
                return msgspec.json.decode(document)
            except HubError as error:
                _log.warning("example left out: the model would not accept it", model=self.name, reason=str(error))
        return self.codec.example


@final
class Catalog:
    """The last list of models from the registry, with their codecs.

    `run` waits for the next list; look-ups do no I/O. While the registry is out of reach the last list stands, and
    `connected` is false.
    """

    def __init__(self, watch: Watch, codecs: CodecResolver) -> None:
        self._watch = watch
        self._codecs = codecs
        self._received = False
        self._known: Mapping[ModelName, KnownModel] = {}
        self._served: dict[ModelName, ServedModel] = {}
        self._listed: tuple[ServedModel, ...] = ()
        self._changed = Notifier()

    @property
    def connected(self) -> bool:
        """Whether a list was received and is up to date."""
        return self._received and self._watch.connected

    @property
    def known(self) -> Mapping[ModelName, KnownModel]:
        """Every model that the registry remembers, alive or not; empty before the first list."""
        return self._known

    @property
    def served(self) -> Sequence[ServedModel]:
        """The models that are alive, by name; empty before the first list. The same object until it changes."""
        return self._listed

    async def run(self) -> None:
        """Receives one list after the other. Never returns.

        Raises:
            HubError: The registry refuses the requests, for example because of a wrong token.
        """
        async for snapshot in self._watch:
            await self._update(snapshot)

    async def changed(self) -> None:
        """Waits for the next list; it may be equal to the last one."""
        await self._changed.wait()

    def get(self, name: ModelName) -> ServedModel | None:
        """The live model of this name; `None` if there is none."""
        return self._served.get(name)

    def find(self, name: str) -> ServedModel:
        """The live model of this name.

        Raises:
            UnknownModel: The registry has never had it.
            ModelLoading: No instance of it has finished its `setup` yet.
            ModelUnavailable: No instance of it is alive.
            ModelListUnavailable: There is no list yet.
        """
        served = self._served.get(ModelName(name))
        if served is not None:
            return served
        if not self._received:
            raise ModelListUnavailable
        known = self._known.get(ModelName(name))
        if known is None:
            raise UnknownModel(name, self._similar_name(name))
        raise ModelLoading(name, known.loading) if known.loading else ModelUnavailable(name)

    def _similar_name(self, name: str) -> str:
        """The live model whose name is most similar, in whatever case; empty if none is."""
        by_folded = {served.casefold(): served for served in self._served}
        folded = name.casefold()
        if folded in by_folded or len(name) > LONGEST_GUESS or len(by_folded) > MOST_GUESSES:
            return by_folded.get(folded, "")
        found = get_close_matches(folded, by_folded, n=1)
        return by_folded[found[0]] if found else ""

    async def _update(self, snapshot: ModelsSnapshot) -> None:
        self._codecs.reserve(len(snapshot.models))
        served: dict[ModelName, ServedModel] = {}
        for name, known in snapshot.models.items():
            before = self._served.get(name)
            if before is not None and before.known is known:  # as most are after a change of one
                served[name] = before
                self._codecs.keep(known.contract)
                continue
            codec = await self._codecs.compile(name, known.contract)
            if codec is not None and known.live:
                served[name] = ServedModel(known=known, codec=codec)
        for name in served.keys() - self._served.keys():
            _log.info("model is alive", model=name, instances=served[name].known.live)
        for name in self._served.keys() - served.keys():
            _log.info("model is gone", model=name)
        self._known, self._served, self._received = snapshot.models, served, True
        self._listed = tuple(served[name] for name in sorted(served))
        self._changed.notify()
