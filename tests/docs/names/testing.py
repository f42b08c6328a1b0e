"""Names that the snippets of docs/testing.md use and do not define."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

import hub
import hub.testing

__all__ = ["ImportRequest", "Importer", "client", "pytest"]

client: hub.testing.LocalClient


class ImportRequest(Message):
    """What protoc would make."""

    def __init__(self, *, rows: int = 0) -> None: ...


class ImportResponse(Message):
    """What protoc would make."""

    skipped: int


class Importer(hub.Model[ImportRequest, ImportResponse]):
    """A model that reports its progress and goes on from it."""
