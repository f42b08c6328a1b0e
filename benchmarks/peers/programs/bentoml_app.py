"""BentoML: one service with an asynchronous method, no queue that outlives it and no stored results."""

from __future__ import annotations

import bentoml

from benchmarks.peers.echo import answer


@bentoml.service
class Echo:
    @bentoml.api
    async def echo(self, messages: str) -> dict[str, str]:
        return {"reply": answer(messages)}
