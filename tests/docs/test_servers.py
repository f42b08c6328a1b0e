"""Commands for Redis in docs/how-to/production.md, run against a Redis, and a hub that uses it as that user."""

from __future__ import annotations

import json
import os
import subprocess
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tests.browser.conftest import running_hub
from tests.docs.blocks import blocks_to_check
from tests.support.redis import Redis
from tests.support.server import free_port


def test_hub_works_with_the_settings_and_the_user_of_the_page(private_redis: Redis) -> None:
    port = urlsplit(private_redis.url).port
    (block,) = [each for each in blocks_to_check("commands") if "redis-cli config" in each.text]
    client = f"redis-cli -p {port}"
    script = block.text.replace("redis-cli", client) + "".join(
        f"{client} config get {name} | tail -n 1\n" for name in ("appendonly", "appendfsync", "maxmemory-policy")
    )
    environment = os.environ | {"PASSWORD": "sesame"}
    try:
        done = subprocess.run(["bash", "-e"], input=script, text=True, capture_output=True, check=True, env=environment)
        url = f"redis://serving:sesame@127.0.0.1:{port}/0"
        with running_hub(["examples.model_a:ModelA"], free_port(), store_url=url, directory_url=url) as hub:
            call = Request(
                f"{hub.gateway}/v1/models/ModelA",
                data=b'{"messages":"hello"}',
                headers={"content-type": "application/json"},
            )
            with urlopen(call, timeout=30) as reply:
                answer = json.load(reply)
    finally:
        subprocess.run([*client.split(), "acl", "deluser", "serving"], check=True, capture_output=True)

    assert done.stdout.split() == ["OK", "OK", "OK", "OK", "yes", "always", "noeviction"]
    assert answer == {"reply": "Processed message: hello\n"}
