"""Tools for tests of programs that use hub: models without a server, virtual time, faults. The product does not import them.

```python
async def test_the_label() -> None:
    async with hub.testing.run(Sentiment) as client:
        assert await client.call(Sentiment, SentimentRequest(text="good")) == SentimentResponse(label="positive")
```

`run` runs models with hub's own worker, a broker and a store in memory. `virtual_backend` makes an event loop in which
waiting takes no time. `FaultProxy` (in `hub.testing.proxy`) injects network faults. `docs/testing.md` describes all of it.
"""

from hub.client.errors import (
    DeadlineMissed as DeadlineMissed,
    ModelFailed as ModelFailed,
    StreamRestarted as StreamRestarted,
    TaskUnsuccessful as TaskUnsuccessful,
    TaskWasCancelled as TaskWasCancelled,
)
from hub.testing.client import LocalClient as LocalClient
from hub.testing.kit import run as run
from hub.testing.stream import LocalStream as LocalStream
from hub.testing.task import LocalTask as LocalTask
from hub.testing.virtual_time import (
    VirtualTimeUnavailable as VirtualTimeUnavailable,
    virtual_backend as virtual_backend,
)
