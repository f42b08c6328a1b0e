"""Keeps one instance registered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Final, Protocol, Self, final

import structlog
from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    create_task_group,
    current_time,
    move_on_after,
)
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.concurrency.retrying import AttemptLog, retrying
from hub.concurrency.timeouts import connection_timeout
from hub.contract import Contract
from hub.errors import ConnectionLost, ConnectionRefused, HubError
from hub.ports.directory import ModelLimits
from hub.registry.client.errors import InstanceUnreachable
from hub.registry.client.snapshot import LoginResult
from hub.types import InstanceId, ModelName

MISSED_PERIODS: Final = 3
"""Ping periods without a ping after which the registry must have removed the instance, or never knew it."""

MIN_UPDATE_INTERVAL: Final = 0.2
"""Seconds at least between a login and one that only updates the status: a flapping connection costs five a second at most."""

LOGIN_TIMEOUT: Final = 10.0
"""Seconds for one login; the registry pings the instance before it answers."""

LOGOUT_GRACE: Final = 2.0
"""Seconds for the logout. Without it the registry finds out by pings, so it is not worth more of the exit."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


class Registry(Protocol):
    """The part of `hub.registry.client.client.RegistryClient` that is used here; see there."""

    async def login(
        self,
        instance: InstanceId,
        model: ModelName,
        url: str,
        contract: Contract,
        *,
        example: str,
        limits: ModelLimits,
        consuming: bool,
        loading: bool,
    ) -> LoginResult: ...

    async def logout(self, instance: InstanceId) -> None: ...


@final
class Registration(AsyncContextManagerMixin):
    """Keeps an instance registered while the block runs: logs in on entry and out on exit.

    It logs in again when the registry has stopped pinging, and when the status has changed that a login reports.

    The logout is shielded, and takes `LOGOUT_GRACE` seconds at most. Once a login has worked, a registry that is out of
    reach is only logged.

    Args:
        registry: Where to log in.
        instance: Id of the instance.
        model: Name of its model.
        url: Base of its HTTP routes as the registry reaches them.
        contract: Contract of its model.
        example: A request for documentation, as ProtoJSON.
        limits: Limits of the tasks of its model.
        pinged_at: Returns when the registry pinged last, on the clock of `anyio.current_time`.
        ping_period: Seconds between two pings of the registry.
        start_timeout: Seconds to try for the first login; 0: one attempt.
        on_login: Called after each login that worked.
        loading: Whether to log in as an instance whose `setup` has not returned yet; `ready` ends that.

    Raises:
        NameTaken: On entry, or in an `ExceptionGroup` later: the name belongs to another contract now.
        RegistryRefused: Likewise: the registry will never admit the instance.
        ConnectionRefused: On entry: the registry does not accept our token, or TLS is there on one side only.
        ConnectionLost: On entry: the registry was out of reach for `start_timeout`.
        InstanceUnreachable: On entry: it could not reach the instance for `start_timeout`.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        instance: InstanceId,
        model: ModelName,
        url: str,
        contract: Contract,
        example: str = "",
        limits: ModelLimits = ModelLimits(),
        pinged_at: Callable[[], float],
        ping_period: float,
        start_timeout: float,
        on_login: Callable[[LoginResult], None] = lambda _result: None,
        loading: bool = False,
    ) -> None:
        self._registry = registry
        self._instance = instance
        self._model = model
        self._url = url
        self._contract = contract
        self._example = example
        self._limits = limits
        self._ping_timeout = MISSED_PERIODS * ping_period
        self._start_timeout = start_timeout
        self._pinged_at = pinged_at
        self._on_login = on_login
        self._logged_in_at = 0.0
        self._logins = 0
        self._attempts = AttemptLog("login at the registry")
        self._consuming = True
        self._reported_consuming: bool | None = None
        self._loading = loading
        self._reported_loading = loading
        self._changes = 0
        self._changed = Notifier()
        self._logged_in = Notifier()
        self._registered = CancelScope()
        self._logged_out = False

    @property
    def logins(self) -> int:
        """Logins that worked."""
        return self._logins

    def update_consuming(self, consuming: bool) -> None:  # noqa: FBT001 - `Worker.on_consuming` calls it with one argument
        """Sets whether the instance receives tasks now; a change is reported to the registry soon, if it is in reach.

        Before the first call it counts as true. Call it from the thread of the event loop.
        """
        if consuming is not self._consuming:
            self._consuming = consuming
            self._notify()

    async def ready(self) -> None:
        """Ends the state `loading`; returns once it is reported to the registry. Call it when tasks are received."""
        self._loading = False
        self._notify()
        await self._logged_in.wait_for(lambda: not self._reported_loading)

    async def leave(self) -> None:
        """Logs out before the block ends; call it shielded, with `LOGOUT_GRACE` seconds. The second call does nothing."""
        self._registered.cancel("logging out")
        if not self._logged_out:
            self._logged_out = True
            await self._logout()

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        registered = True  # or perhaps so: a login that is cancelled may have arrived
        try:
            try:
                await self._login(until=current_time() + self._start_timeout)
            except HubError:
                registered = False
                raise
            async with create_task_group() as tg:
                tg.start_soon(self._keep_registered, name=f"hub.registration {self._instance}")
                yield self
                tg.cancel_scope.cancel("registration closed")
        finally:
            if registered:
                with move_on_after(LOGOUT_GRACE, shield=True):
                    await self.leave()

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify()

    async def _keep_registered(self) -> None:
        with self._registered:
            while True:
                await self._wait_until_due()
                await self._login()

    async def _wait_until_due(self) -> None:
        """Waits until another login is due."""
        while True:
            is_ready = self._loading is not self._reported_loading
            has_changed = is_ready or self._consuming is not self._reported_consuming
            interval = 0.0 if is_ready else MIN_UPDATE_INTERVAL
            due = max(self._pinged_at(), self._logged_in_at) + self._ping_timeout
            if has_changed:
                due = min(due, self._logged_in_at + interval)
            if current_time() >= due:
                break
            with CancelScope(deadline=due):
                await self._changed.wait()
        if is_ready:
            _log.debug("reporting to the registry that setup is done")
        elif has_changed:
            _log.info("reporting to the registry", consuming=self._consuming)
        else:
            _log.warning("the registry does not ping, logging in again", not_pinged_for=self._ping_timeout)

    async def _login(self, *, until: float = inf) -> None:
        async for attempt in retrying(on=self._is_retried, until=until, on_retry=self._attempts.on_retry):
            # Without a start_timeout there is one attempt, which may take its time.
            limit = min(LOGIN_TIMEOUT, max(0.0, until - current_time()) if self._start_timeout else LOGIN_TIMEOUT)
            changes, loading = self._changes, self._loading
            with attempt, connection_timeout("the registry", limit):
                result = await self._registry.login(
                    self._instance,
                    self._model,
                    self._url,
                    self._contract,
                    example=self._example,
                    limits=self._limits,
                    consuming=self._consuming,
                    loading=loading,
                )
                self._on_login(result)
                self._attempts.succeeded()
                self._logins += 1
                self._logged_in_at = current_time()
                # It is not known whether the registry's ping came before or after a change during the login.
                self._reported_consuming = None if self._changes != changes else self._consuming
                self._reported_loading = loading
                self._logged_in.notify()

    def _is_retried(self, error: Exception) -> bool:
        if isinstance(error, ConnectionRefused):
            return self._attempts.reached
        return isinstance(error, ConnectionLost | InstanceUnreachable)

    async def _logout(self) -> None:
        try:
            await self._registry.logout(self._instance)
        except HubError as error:
            _log.warning("logout failed; the registry will find out by pings", reason=str(error))
