"""The bounds of registration, as clients and Prometheus see them."""

from __future__ import annotations

import anyio
import pytest
from anyio import fail_after

from hub.errors import ConfigurationError, ConnectionLost
from hub.settings.registry import RegistrySettings
from tests.registry.fakes import ping_server
from tests.registry.fixtures import served_registry
from tests.registry.helpers import TIMEOUT


async def test_a_login_beyond_a_limit_is_a_503_that_names_the_setting_and_is_counted() -> None:
    with fail_after(TIMEOUT):
        async with served_registry(max_models=1) as registry, ping_server() as one, ping_server() as two:
            await registry.login(one, "One")
            with pytest.raises(ConnectionLost, match="HUB_MAX_MODELS"):
                await registry.login(two, "Two")
            assert await registry.active() == ["One"]
            metrics = (await registry.get("/metrics")).text
            assert 'hub_registry_refused_logins_total{limit="max_models"} 1.0' in metrics
            assert 'hub_registry_limit{limit="max_models"} 1.0' in metrics


async def test_a_model_without_instances_for_the_lifetime_is_forgotten() -> None:
    with fail_after(TIMEOUT):
        async with served_registry(contract_ttl=0.01, ping_period=0.05) as registry, ping_server() as server:
            await registry.login(server, "Stays")
            async with ping_server() as other:
                await registry.login(other, "Goes")
                await registry.client.logout(other.id)
            await registry.until(lambda snapshot: "Goes" not in snapshot.models)
            assert "Stays" in await registry.active()
            assert (await registry.get("/v1/schemas/Goes")).status_code == 404
            while "hub_registry_contracts 1.0" not in (await registry.get("/metrics")).text:
                await anyio.lowlevel.checkpoint()
            async with ping_server() as back:
                await registry.login(back, "Goes")
                assert "Goes" in await registry.active()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_models": 0},
        {"max_instances": -1},
        {"max_instances": 10_001},
        {"max_model_instances": 0},
        {"max_contracts": 0},
        {"max_contract_bytes": 0},
        {"contract_ttl": 0.0},
        {"contract_ttl": float("nan")},
        {"contract_ttl": float("inf")},
    ],
    ids=str,
)
def test_limits_that_cannot_work_are_refused_at_the_start(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigurationError, match=name):
        RegistrySettings(**wrong)  # type: ignore[arg-type]
