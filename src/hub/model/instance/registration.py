"""Keeps one instance on the registry's list."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf
from typing import Final, Protocol, Self, final

import structlog
from anyio import AsyncContextManagerMixin, CancelScope, create_task_group, current_time, move_on_after, move_on_at
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.concurrency.retrying import AttemptLog, retrying
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConnectionLost, ConnectionRefused, HubError
from hub.registry.client.errors import InstanceUnreachable
from hub.registry.client.login import LoginRequest, LoginResult
from hub.types import InstanceId

MISSED_PERIODS: Final = 3
"""Ping periods without a ping after which the registry must have lost the instance, or never had it."""

MIN_UPDATE_INTERVAL: Final = 0.2
"""Seconds between a login and one that only reports a change: an unstable connection costs five logins a second at most."""

LOGIN_TIMEOUT: Final = 10.0
"""Seconds for one login; the registry pings the instance before it answers."""

LOGOUT_TIMEOUT: Final = 2.0
"""Seconds for the logout. Without it the registry misses the pings, so it is not worth more of the exit."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


class Registry(Protocol):
    """The calls of `hub.registry.client.client.RegistryClient` that this module makes; see there."""

    async def login(self, request: LoginRequest) -> LoginResult: ...

    async def logout(self, instance: InstanceId) -> None: ...


@final
class Registration(AsyncContextManagerMixin):
    """Lists an instance while the block runs: logs in on entry, again after missed pings or a change, and out on exit.

    Changes are those of `update_consuming` and `ready`. The logout is shielded, and takes `LOGOUT_TIMEOUT` seconds at most.
    After a login that worked, a registry that is out of reach is only logged, and tried again.

    Args:
        registry: The registry.
        request: The first login. With `loading`, `ready` ends that state.
        pinged_at: Returns when the registry last pinged the instance, on the clock of `anyio.current_time`.
        ping_period: Seconds between two pings of the registry.
        start_timeout: Seconds to try for the first login; 0: a single attempt.
        on_login: Called with the result of each login that worked.

    Raises:
        NameTaken: On entry, or in an `ExceptionGroup` later: instances with another contract hold the name.
        RegistryRefused: Likewise: the registry will never accept this login.
        ConnectionRefused: On entry: the registry does not accept the token, or only one side uses TLS.
        ConnectionLost: On entry: the registry was out of reach for `start_timeout`.
        InstanceUnreachable: On entry: the registry could not reach the instance for `start_timeout`.
    """

    def __init__(
        self,
        registry: Registry,
        request: LoginRequest,
        *,
        pinged_at: Callable[[], float],
        ping_period: float,
        start_timeout: float,
        on_login: Callable[[LoginResult], None] = lambda _result: None,
    ) -> None:
        self._registry = registry
        self._request = request
        self._max_silence = MISSED_PERIODS * ping_period
        self._start_timeout = start_timeout
        self._pinged_at = pinged_at
        self._on_login = on_login
        self._attempts = AttemptLog("login at the registry")
        self._changes = 0
        self._changed = Notifier()
        self._logged_in = Notifier()
        self._logged_in_at = 0.0
        self._reported_consuming: bool | None = None
        self._reported_loading = request.loading
        self._keeping = CancelScope()
        self._logged_out = False

    def update_consuming(self, consuming: bool) -> None:  # noqa: FBT001 - a callback with one argument
        """Sets whether the instance takes tasks now, and reports it to the registry soon if that does not know it.

        Call it at any time, in the thread of the event loop.
        """
        if consuming is not self._request.consuming:
            self._change(replace(self._request, consuming=consuming))

    async def ready(self) -> None:
        """Ends the state `loading`, and returns once the registry knows. Call it when tasks are taken."""
        self._change(replace(self._request, loading=False))
        await self._logged_in.wait_for(lambda: not self._reported_loading)

    async def leave(self) -> None:
        """Logs out before the block ends. Call it shielded, with `LOGOUT_TIMEOUT` seconds. A second call does nothing."""
        self._keeping.cancel("logging out")
        if not self._logged_out:
            self._logged_out = True
            try:
                await self._registry.logout(self._request.instance)
            except HubError as error:
                _log.warning("logout failed; the registry will miss the pings", reason=str(error))

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        listed = True  # also after a cancelled login, which may have arrived
        try:
            try:
                await self._login(until=current_time() + self._start_timeout)
            except HubError:
                listed = False
                raise
            async with create_task_group() as tg:
                tg.start_soon(self._keep_registered, name=f"hub.registration {self._request.instance}")
                yield self
                tg.cancel_scope.cancel("registration closed")
        finally:
            if listed:
                with move_on_after(LOGOUT_TIMEOUT, shield=True):
                    await self.leave()

    def _change(self, request: LoginRequest) -> None:
        self._request = request
        self._changes += 1
        self._changed.notify()

    async def _keep_registered(self) -> None:
        with self._keeping:
            while True:
                is_ready = self._request.loading is not self._reported_loading
                is_change = is_ready or self._request.consuming is not self._reported_consuming
                due = max(self._pinged_at(), self._logged_in_at) + self._max_silence
                if is_change:
                    due = min(due, self._logged_in_at + (0.0 if is_ready else MIN_UPDATE_INTERVAL))
                if current_time() < due:
                    with move_on_at(due):
                        await self._changed.wait()
                    continue
                if is_ready:
                    _log.debug("reporting the end of the setup")
                elif is_change:
                    _log.info("reporting a change", consuming=self._request.consuming)
                else:
                    _log.warning("the registry does not ping, logging in again", silent_for=self._max_silence)
                await self._login()

    async def _login(self, *, until: float = inf) -> None:
        async for attempt in retrying(on=self._is_retried, until=until, on_retry=self._attempts.on_retry):
            seconds = LOGIN_TIMEOUT
            if self._start_timeout:  # a single attempt may take its time
                seconds = min(seconds, max(0.0, until - current_time()))
            request, changes = self._request, self._changes
            with attempt:
                with connection_timeout("the registry", seconds):
                    result = await self._registry.login(request)
                self._on_login(result)
                self._attempts.succeeded()
                self._logged_in_at = current_time()
                # A change during the login may have come before or after the ping, whose result is then unknown.
                self._reported_consuming = request.consuming if changes == self._changes else None
                self._reported_loading = request.loading
                self._logged_in.notify()

    def _is_retried(self, error: Exception) -> bool:
        if isinstance(error, ConnectionRefused):
            return self._attempts.reached
        return isinstance(error, ConnectionLost | InstanceUnreachable)
