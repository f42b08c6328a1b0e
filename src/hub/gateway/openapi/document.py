"""The API description of the models that are alive (OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from importlib.resources import files
from itertools import islice, starmap
from typing import Final, final

import msgspec
import structlog
from anyio.lowlevel import checkpoint

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.gateway.models.catalog import Catalog, ServedModel
from hub.gateway.openapi.model import ModelDescription, encoded_member, model_paths
from hub.gateway.openapi.names import SharedSchemas, operation_suffixes, renamed
from hub.gateway.tasks.options import ResultTtls
from hub.http.conditional import etag_of
from hub.http.described import complete
from hub.safe_text import printable
from hub.types import ModelName

_HOLE: Final = "\0"
"""Marks in the encoded outline where something of the models comes."""

_log = structlog.get_logger("hub.gateway")

_Objects = dict[str, msgspec.Raw]


class _Tag(msgspec.Struct):
    name: str


class _Static(msgspec.Struct, kw_only=True):
    openapi: str
    info: msgspec.Raw
    tags: list[msgspec.Raw]
    servers: list[dict[str, str]] = []
    paths: _Objects
    components: dict[str, _Objects]
    security: list[dict[str, list[str]]] = []


class _ListedModel(msgspec.Struct, frozen=True):
    name: str
    request: str
    response: str
    streaming: bool


@final
@dataclass(slots=True)
class _Described:
    """The description of a model, `None` if it cannot be described, and what it was made of."""

    model: ServedModel
    suffix: str
    part: ModelDescription | None
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    renamed: bytes = b""

    @classmethod
    def of(cls, model: ServedModel, suffix: str) -> _Described:
        try:
            return cls(model, suffix, model_paths(model, suffix))
        except Exception as error:  # noqa: BLE001 - a contract is foreign data: one must not end the description of all others
            _log.error("model left out of the API description", model=model.name, reason=printable(repr(error), 500))
            return cls(model, suffix, None)

    def is_of(self, model: ServedModel, suffix: str) -> bool:
        if self.model is model and self.suffix == suffix:
            return True
        mine, given = self.model.known, model.known
        return (self.suffix, mine.fingerprint, mine.example, mine.limits.max_timeout, mine.comments) == (
            suffix, given.fingerprint, given.example, given.limits.max_timeout, given.comments
        )  # fmt: skip

    def paths(self, part: ModelDescription, names: Mapping[str, str]) -> bytes:
        """The paths with their references renamed; kept, because most changes leave the names as they are."""
        if names and names != self.names:
            self.names, self.renamed = names, bytes(renamed(msgspec.Raw(part.paths), names))
        return self.renamed if names else part.paths


@final
class OpenApiDocument:
    """The document, encoded again only when the set of models or one of their descriptions changes.

    A model is described once. After a change the encoded descriptions are joined, which takes 5 ms for 1,000 models (9 MB).

    Args:
        catalog: The models.
        guarded: Whether clients need an API key.
        ttls: The limits of `Hub-Result-TTL`.
        root_path: The path that clients reach the server at, if not `/`.
    """

    def __init__(self, catalog: Catalog, *, guarded: bool, ttls: ResultTtls, root_path: str = "") -> None:
        self._catalog = catalog
        static = _static(guarded=guarded, ttls=ttls)
        static.servers = [{"url": root_path or "/"}]
        self._schemas = static.components["schemas"]
        self._tags = {msgspec.json.decode(tag, type=_Tag).name for tag in static.tags}
        self._outline = _outline(static)
        self._described: dict[ModelName, _Described] = {}
        self._prepared: Sequence[ServedModel] | None = None
        self._listed: Sequence[ServedModel] | None = None
        self._versions: list[bytes | None] | None = None
        self._encoded = ("", b"")

    async def prepare(self) -> None:
        """Describes new models, those with large contracts in a thread; `current` describes the rest in this one."""
        while self._prepared is not (listed := self._catalog.served):  # it may change while a model is described
            for model, suffix in self._undescribed(listed):
                size = CONTRACT_WEIGHT * len(model.known.contract.files)
                self._described[model.name] = await in_thread_if_large(size, partial(_Described.of, model, suffix))
                await checkpoint()
            self._prepared = listed

    def current(self) -> tuple[str, bytes]:
        """The ETag and the document."""
        self._update()
        return self._encoded

    def of_model(self, name: str) -> tuple[str, bytes]:
        """The ETag and the document of one model: its operations, and those that belong to no model.

        Raises:
            HubError: There is no live model of this name; see `Catalog.find`.
        """
        model = self._catalog.find(name)
        self._update()
        return self._joined([self._described[model.name]])

    def index(self) -> tuple[str, bytes]:
        """The ETag and the document without the operations of models; `x-hub-models` lists these."""
        contracts = [(model.name, model.known.contract) for model in self._catalog.served]
        listed = [_ListedModel(name, each.request, each.response, each.streaming) for name, each in contracts]
        document = self._joined([])[1].removesuffix(b"}") + b',"x-hub-models":' + msgspec.json.encode(listed) + b"}"
        return etag_of(document), document

    def _update(self) -> None:
        listed = self._catalog.served
        if listed is self._listed:
            return
        for model, suffix in () if listed is self._prepared else self._undescribed(listed):
            self._described[model.name] = _Described.of(model, suffix)
        self._described = {model.name: self._described[model.name] for model in listed}
        for model, described in zip(listed, self._described.values(), strict=True):
            described.model = model
        self._listed = listed
        versions = [None if each.part is None else each.part.version for each in self._described.values()]
        if versions != self._versions:
            self._encoded, self._versions = self._joined(self._described.values()), versions

    def _undescribed(self, listed: Sequence[ServedModel]) -> list[tuple[ServedModel, str]]:
        suffixes, known = operation_suffixes(model.name for model in listed), self._described
        return [
            (model, suffix)
            for model, suffix in zip(listed, suffixes.values(), strict=True)
            if model.name not in known or not known[model.name].is_of(model, suffix)
        ]

    def _joined(self, models: Iterable[_Described]) -> tuple[str, bytes]:
        """The document of some models. Its ETag is made of the digests of its parts: reading 9 MB would take longer."""
        schemas = SharedSchemas(self._schemas)
        start, to_paths, to_schemas, end = self._outline
        versions, tags, paths, members = [*self._outline], [start], [to_paths], [to_schemas]
        for described in models:
            if (part := described.part) is not None:
                versions.append(part.version)
                if described.model.name not in self._tags:
                    tags.append(part.tag)
                before = len(schemas.schemas)
                new = schemas.add_as_they_are(part.schemas)
                if new is not None:
                    paths.append(part.paths)
                    members += [part.members[name] for name in new]
                else:
                    paths.append(described.paths(part, schemas.add(described.model.name, part.schemas)))
                    members += starmap(encoded_member, islice(schemas.schemas.items(), before, None))
        document = b"".join([*tags, *paths, *members, end])
        return f'"{sha256(b"".join(versions)).hexdigest()[:32]}"', document


def _static(*, guarded: bool, ttls: ResultTtls) -> _Static:
    source = (files("hub.gateway.openapi") / "static.json").read_bytes()
    static = msgspec.json.decode(
        msgspec.json.encode(complete(msgspec.json.decode(source), guarded=guarded)), type=_Static
    )
    result_ttl = msgspec.json.decode(static.components["parameters"]["HubResultTtl"])
    result_ttl["schema"] = {"type": "number", "minimum": ttls.least, "maximum": ttls.most, "default": ttls.default}
    static.components["parameters"]["HubResultTtl"] = msgspec.Raw(msgspec.json.encode(result_ttl))
    return static


def _outline(static: _Static) -> Sequence[bytes]:
    """What is around the tags, the paths and the schemas of the models in the encoded document."""
    hole = msgspec.Raw(msgspec.json.encode(_HOLE))
    schemas = {**static.components["schemas"], _HOLE: hole}
    marked = msgspec.structs.replace(
        static,
        tags=[hole, *static.tags],
        paths={_HOLE: hole, **static.paths},
        components={**static.components, "schemas": schemas},
    )
    start, rest = msgspec.json.encode(marked).split(b"%s," % hole, 1)
    to_paths, rest = rest.split(b"%s:%s," % (hole, hole), 1)
    to_schemas, end = rest.split(b",%s:%s" % (hole, hole), 1)
    return start, to_paths, to_schemas, end
