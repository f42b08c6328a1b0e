"""Commands for Redis in docs/how-to/production.md, run against a Redis."""

from __future__ import annotations

import os
import subprocess
from urllib.parse import urlsplit

from tests.docs.blocks import blocks_to_check
from tests.support.redis import Redis


def test_redis_takes_the_settings_of_the_page(private_redis: Redis) -> None:
    (block,) = [each for each in blocks_to_check("commands") if "redis-cli config" in each.text]
    client = f"redis-cli -p {urlsplit(private_redis.url).port}"
    script = block.text.replace("redis-cli", client) + "".join(
        f"{client} config get {name} | tail -n 1\n" for name in ("appendonly", "appendfsync", "maxmemory-policy")
    )
    done = subprocess.run(["bash", "-e"], input=script, text=True, capture_output=True, check=True, env=os.environ)

    assert done.stdout.split() == ["OK", "OK", "OK", "yes", "always", "noeviction"]
