"""Every alert fires and ends in a running system: `make alerts`, once, with hub on trio."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.observability.run import Verdict, run, table
from tests.observability.trials import Expected
from tests.support.redis import emptied


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {}


@pytest.mark.timeout(300)
async def test_every_alert_fires_and_ends(amqp_url: str, redis_url: str, tmp_path: Path) -> None:
    said: list[str] = []

    verdicts = await run("trio", tmp_path, said.append, amqp_url=amqp_url, redis_url=emptied(redis_url, 14))

    assert all(verdict.kept for verdict in verdicts), "\n".join([*said, table(verdicts)])


def test_an_alert_that_never_fired_or_never_ended_or_cannot_be_read_is_bad() -> None:
    alert = Expected(name="HubInstanceNotConsuming", label=("model", "A"))
    good = Verdict(alert=alert, trial="it is told to", fired=1.5, resolved=2.25, said="A is deaf")
    never = Verdict(alert=alert, trial="it is told to")
    stuck = Verdict(alert=alert, trial="it is told to", fired=1.5, said="A is deaf")
    garbled = Verdict(alert=alert, trial="it is told to", fired=1.5, resolved=1.0, said="<no value> is deaf")

    assert [each.kept for each in (good, never, stuck, garbled)] == [True, False, False, False]
    assert table([good, stuck]).splitlines() == [
        "     alert                        fired after  resolved after  because",
        "ok   HubInstanceNotConsuming (A)  1.5 s        2.2 s           it is told to",
        "BAD  HubInstanceNotConsuming (A)  1.5 s        never           it is told to",
    ]
