"""The backends of anyio as its pytest plugin takes them: a name and the options of the event loop."""

from __future__ import annotations

import os
from typing import Final, TypeAlias

Backend: TypeAlias = tuple[str, dict[str, object]]

ASYNCIO: Final[Backend] = ("asyncio", {"debug": os.environ.get("HUB_TEST_ASYNCIO_DEBUG", "1") != "0"})
"""In debug mode, which reports what is never awaited and from where; `make test-fast` does without, it costs a fifth of the
CPU of all tests."""

TRIO: Final[Backend] = ("trio", {})
