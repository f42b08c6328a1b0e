"""The API description of the models that are alive (OpenAPI 3.1)."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import final

import msgspec
import structlog

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract.comments import Comments
from hub.gateway.models.catalog import Catalog, ServedModel
from hub.gateway.openapi.model import ModelDescription, model_paths
from hub.gateway.openapi.names import SharedSchemas, operation_suffixes, renamed
from hub.gateway.tasks.options import ResultTtls
from hub.http.conditional import etag_of
from hub.http.described import complete
from hub.safe_text import printable
from hub.types import Fingerprint, ModelName

_log = structlog.get_logger("hub.gateway")

_Objects = dict[str, msgspec.Raw]
_Key = tuple[ModelName, str, Fingerprint, str, float | None, Comments]


class _Tag(msgspec.Struct):
    name: str

    @classmethod
    def of(cls, tag: msgspec.Raw) -> _Tag:
        return msgspec.json.decode(tag, type=_Tag)


class _Static(msgspec.Struct, kw_only=True):
    openapi: str
    info: msgspec.Raw
    tags: list[msgspec.Raw]
    servers: list[dict[str, str]] = []
    paths: _Objects
    components: dict[str, _Objects]
    security: list[dict[str, list[str]]] = []


@final
class OpenApiDocument:
    """The document, encoded again only when the set of models or one of their descriptions changes.

    Args:
        catalog: The models.
        guarded: Whether clients need an API key.
        ttls: The limits of `Hub-Result-TTL`.
        root_path: The path that clients reach the server at, if not `/`.
    """

    def __init__(self, catalog: Catalog, *, guarded: bool, ttls: ResultTtls, root_path: str = "") -> None:
        self._catalog = catalog
        self._static = _static(guarded=guarded, ttls=ttls)
        self._static.servers = [{"url": root_path or "/"}]
        self._parts: dict[_Key, ModelDescription | None] = {}
        self._key: tuple[_Key, ...] | None = None
        self._encoded = ("", b"")

    async def prepare(self) -> None:
        """Describes new models, those with large contracts in a thread; `current` describes the rest in this one."""
        # The catalog may change while a model is described in a thread.
        while new := next(((key, model) for key, model in self._wanted().items() if key not in self._parts), None):
            key, model = new
            size = CONTRACT_WEIGHT * len(model.known.contract.files)
            self._parts[key] = await in_thread_if_large(size, partial(_described, model, key[1]))

    def current(self) -> tuple[str, bytes]:
        """The ETag and the document."""
        served = self._wanted()
        key = tuple(served)
        if key != self._key:
            known = self._parts
            self._parts = {
                each: known[each] if each in known else _described(model, each[1]) for each, model in served.items()
            }
            document = self._document()
            self._encoded = etag_of(document), document
            self._key = key
        return self._encoded

    def _wanted(self) -> dict[_Key, ServedModel]:
        models = self._catalog.served
        suffixes = operation_suffixes(model.name for model in models)
        served: dict[_Key, ServedModel] = {}
        for model in models:
            known, suffix = model.known, suffixes[model.name]
            served[model.name, suffix, known.fingerprint, known.example, known.limits.max_timeout, known.comments] = (
                model
            )
        return served

    def _document(self) -> bytes:
        static = self._static
        schemas = SharedSchemas(static.components["schemas"])
        paths = dict[str, msgspec.Raw]()
        described = [(key[0], part) for key, part in self._parts.items() if part is not None]
        for model, part in described:
            names = schemas.add(model, part.schemas)
            paths |= {path: renamed(item, names) for path, item in part.paths.items()}
        ours = {_Tag.of(tag).name for tag in static.tags}
        return msgspec.json.encode(
            msgspec.structs.replace(
                static,
                tags=[*(part.tag for _, part in described if _Tag.of(part.tag).name not in ours), *static.tags],
                paths={**paths, **static.paths},
                components={**static.components, "schemas": schemas.schemas},
            )
        )


def _described(model: ServedModel, suffix: str) -> ModelDescription | None:
    try:
        return model_paths(model, suffix)
    except Exception as error:  # noqa: BLE001 - a contract is foreign data: one must not end the description of all others
        _log.error("model left out of the API description", model=model.name, reason=printable(repr(error), 500))
        return None


def _static(*, guarded: bool, ttls: ResultTtls) -> _Static:
    source = (files("hub.gateway.openapi") / "static.json").read_bytes()
    static = msgspec.json.decode(
        msgspec.json.encode(complete(msgspec.json.decode(source), guarded=guarded)), type=_Static
    )
    result_ttl = msgspec.json.decode(static.components["parameters"]["HubResultTtl"])
    result_ttl["schema"] = {"type": "number", "minimum": ttls.least, "maximum": ttls.most, "default": ttls.default}
    static.components["parameters"]["HubResultTtl"] = msgspec.Raw(msgspec.json.encode(result_ttl))
    return static
