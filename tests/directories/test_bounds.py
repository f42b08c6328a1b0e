"""What a directory has room for, and what it forgets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio import fail_after, sleep

from hub.contract import Contract
from hub.directories.memory import MemoryDirectory
from hub.errors import NotYourInstance, RegistryFull
from hub.ports import Directory, LoginLimits
from hub.redis.opening import redis_links  # noqa: F401 - opened by the fixture
from tests.directories.people import ANOTHER, ONE, PATIENCE, instance, new_model
from tests.stores.conftest import Case
