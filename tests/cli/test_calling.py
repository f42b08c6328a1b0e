"""Commands that call models, with arguments that cannot work, or without a gateway."""

from __future__ import annotations

import pytest

from hub.cli.app import main
from tests.support.server import free_port


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(["call", "no name"], "is not a model name", id="name"),
        pytest.param(["call", "Echo", "@nothing.json"], "'nothing.json' cannot be used", id="file"),
        pytest.param(["batch", "Echo", "nothing.ndjson"], "'nothing.ndjson' cannot be used", id="lines"),
        pytest.param(["call", "Echo", "--timeout", "0"], "--timeout is 0", id="timeout"),
        pytest.param(["call", "Echo", "--idempotency-key", "caf\xe9"], "visible ASCII", id="key"),
        pytest.param(["task", "x", "--gateway-url", "localhost:1"], "write http://localhost:1", id="address"),
        pytest.param(["task", "x", "--api-key", "caf\xe9"], "api_key has the character", id="credential"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_with_the_reason(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)

    assert end.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_gateway_out_of_reach_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("HUB_GATEWAY_URL", url)
    monkeypatch.setattr("hub.cli.client.app.RETRY_FOR", 0.2)

    with pytest.raises(SystemExit) as end:
        main(["call", "Echo"])

    assert end.value.code == 3
    assert f"HUB_GATEWAY_URL={url} (environment HUB_GATEWAY_URL)" in capsys.readouterr().err
