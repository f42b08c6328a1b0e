"""Names that the snippet of examples/writer/README.md uses and does not define."""

from __future__ import annotations

import hub
from examples.writer import Writer
from examples.writer.v1.writer_pb2 import WriterRequest

__all__ = ["Writer", "WriterRequest", "client"]

client: hub.Client
