"""Names that the snippet of examples/embedding/README.md uses and does not define."""

from __future__ import annotations

import numpy as np

import hub
from examples.embedding import Embedding
from examples.embedding.v1.embedding_pb2 import EmbeddingRequest

__all__ = ["Embedding", "EmbeddingRequest", "hub", "np"]
