"""What schemathesis does not know by itself; it loads this file by `SCHEMATHESIS_HOOKS`."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from schemathesis import SerializationContext


@schemathesis.serializer("application/x-ndjson")
def lines(_: SerializationContext, value: Any) -> bytes:
    """Strings and bytes as they are, all else as one line of JSON."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return value if isinstance(value, bytes) else json.dumps(value, default=str).encode()
