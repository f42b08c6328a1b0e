"""The contract of a model as a value."""

from __future__ import annotations

from dataclasses import dataclass

from hub.vocabulary import Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Request and response message of a model, with the canonical closure of their descriptors.

    Attributes:
        request: Full name of the request message, such as `examples.digits.v1.DigitsRequest`.
        response: Full name of the response message.
        files: A serialized, canonical `FileDescriptorSet`: dependencies first, source info stripped.
        fingerprint: SHA-256 over the two names and `files`. Equal fingerprints mean equal contracts.
    """

    request: str
    response: str
    files: bytes
    fingerprint: Fingerprint
