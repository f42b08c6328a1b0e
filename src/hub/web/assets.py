"""The files for browsers in the package (`scripts/vendor.toml` lists those of other projects)."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

_MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    "": "text/plain",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file and its HTTP headers. `gzipped` is the same content compressed."""

    path: str
    media_type: str
    digest: str
    content: bytes
    gzipped: bytes

    @property
    def url(self) -> str:
        """The path of the file on a server, with its digest, so that it may be cached for good."""
        return f"/assets/{self.path}?v={self.digest}"


@cache
def find_asset(path: str) -> Asset | None:
    """The file at `path` below `assets/`, or `None`; read, hashed and compressed once (about 50 ms for the largest)."""
    source = _index().get(path)
    if source is None:
        return None
    content = source.read_bytes()
    return Asset(
        path=path,
        media_type=_MEDIA_TYPES[PurePosixPath(path).suffix],
        digest=sha256(content).hexdigest()[:16],
        content=content,
        gzipped=gzip.compress(content, compresslevel=6, mtime=0),
    )


@cache
def _index() -> dict[str, Traversable]:
    # Request paths are keys of this table and are never joined to a folder, so none can lead out of it.
    return dict(_walk(files("hub.web") / "assets", ""))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif PurePosixPath(entry.name).suffix in _MEDIA_TYPES:
            yield f"{prefix}{entry.name}", entry
