"""Keeps one instance on the registry's list."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Final, Protocol, Self, final

import structlog
from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    Event,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep,
)
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.retrying import AttemptLog, ExponentialBackoff
from hub.contract import Contract
from hub.errors import ConnectionLost, ConnectionRefused, HubError
from hub.ports.directory import ModelLimits
from hub.registry.client.errors import InstanceUnreachable
from hub.registry.client.snapshot import LoginResult
from hub.types import InstanceId, ModelName

SILENCE: Final = 3
"""Ping periods without a ping after which the registry must have forgotten us, or never knew us."""

NEWS_GAP: Final = 0.2
"""Seconds at least between a login and one that only tells news: a link that flaps costs five logins a second at most."""

LOGIN_TIMEOUT: Final = 10.0
"""Seconds for one login; the registry pings us before it answers."""

LOGOUT_GRACE: Final = 2.0
"""Seconds for the logout. Without it the registry finds out by pings, so it is not worth more of the exit."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


class Registry(Protocol):
    """What membership needs of `hub.registry.client.client.RegistryClient`; see there."""

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
    """Lists an instance while the block runs: logs in on entry, again when nobody pings or on news, and out on exit.

    News is what `note` is told. A login says it, and the registry pings whom it lets in.

    The logout is shielded, and takes `LOGOUT_GRACE` seconds at most. After a login that worked, a registry that is out
    of reach is only logged: it heals.

    Args:
        registry: Where to log in.
        instance: Who we are.
        model: The name of our model.
        url: Base of our HTTP routes as the registry reaches them.
        contract: Our model's.
        example: A request for documentation, as ProtoJSON.
        limits: What holds for the tasks of our model.
        pinged_at: Tells when the registry last pinged us, on the clock of `anyio.current_time`.
        ping_period: Seconds between two pings of the registry.
        start_timeout: Seconds to try for the first login.
        admitted: Told of each login that worked.
        loading: Log in as an instance whose `setup` is still to be done; `ready` ends that.

    Raises:
        NameTaken: On entry, or in an `ExceptionGroup` later: the name belongs to another contract now.
        RegistryRefused: Likewise: the registry will never take us.
        ConnectionRefused: On entry: the registry does not accept our token, or TLS is there on one side only.
        ConnectionLost: On entry: the registry was out of reach for `start_timeout`.
        InstanceUnreachable: On entry: it could not reach us for `start_timeout`.
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
        admitted: Callable[[LoginResult], None] = lambda _admission: None,
        loading: bool = False,
    ) -> None:
        self._registry = registry
        self._instance = instance
        self._model = model
        self._url = url
        self._contract = contract
        self._example = example
        self._terms = limits
        self._silence = SILENCE * ping_period
        self._start_timeout = start_timeout
        self._pinged_at = pinged_at
        self._admitted = admitted
        self._logged_in_at = 0.0
        self._logins = 0
        self._attempts = AttemptLog("login at the registry")
        self._consuming = True
        self._told: bool | None = None
        self._loading = loading
        self._told_loading = loading
        self._changed = Event()
        self._logged_in = Event()
        self._staying = CancelScope()
        self._left = False

    @property
    def logins(self) -> int:
        """How often we have logged in; above 1 the registry had forgotten us, or there was news."""
        return self._logins

    def note(self, consuming: bool) -> None:  # noqa: FBT001 - it is what `Worker.tell` calls with its only argument
        """Says whether we take tasks now. The registry hears of it soon, if it is in reach and has not heard it yet.

        Until the first word we are taken to do so. May be called at any time, from the thread of the event loop.
        """
        if consuming is not self._consuming:
            self._consuming = consuming
            self._ring()

    async def ready(self) -> None:
        """Ends the state `loading`; returns once the registry has been told. Call it when tasks are taken."""
        self._loading = False
        self._ring()
        while self._told_loading:
            await self._logged_in.wait()

    async def leave(self) -> None:
        """Logs out before the block ends; call it shielded, with `LOGOUT_GRACE` seconds. Does nothing the second time."""
        self._staying.cancel("logging out")
        if not self._left:
            self._left = True
            await self._logout()

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        listed = True  # or perhaps so: a login that is cancelled may have arrived
        try:
            try:
                await self._login(give_up_at=current_time() + self._start_timeout)
            except HubError:
                listed = False
                raise
            async with create_task_group() as tg:
                tg.start_soon(self._stay, name=f"hub.membership {self._instance}")
                yield self
                tg.cancel_scope.cancel("membership closed")
        finally:
            if listed:
                with move_on_after(LOGOUT_GRACE, shield=True):
                    await self.leave()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = Event()

    async def _stay(self) -> None:
        with self._staying:
            await self._log_in_when_due()

    async def _log_in_when_due(self) -> None:
        while True:
            changed = self._changed
            is_ready = self._loading is not self._told_loading
            news = is_ready or self._consuming is not self._told
            gap = 0.0 if is_ready else NEWS_GAP
            silent_at = max(self._pinged_at(), self._logged_in_at) + self._silence
            due = min(silent_at, self._logged_in_at + gap) if news else silent_at
            if current_time() < due:
                with CancelScope(deadline=due):
                    await changed.wait()
                continue
            if is_ready:
                _log.debug("telling the registry that the setup is done")
            elif news:
                _log.info("telling the registry", consuming=self._consuming)
            else:
                _log.warning("the registry does not ping, logging in again", silent_for=self._silence)
            await self._login()

    async def _login(self, *, give_up_at: float = inf) -> None:
        for delay in ExponentialBackoff().intervals():
            changed, loading = self._changed, self._loading
            # With no patience at all there is one attempt, which may take its time.
            limit = min(LOGIN_TIMEOUT, max(0.0, give_up_at - current_time()) if self._start_timeout else LOGIN_TIMEOUT)
            try:
                with fail_after(limit):
                    admission = await self._registry.login(
                        self._instance,
                        self._model,
                        self._url,
                        self._contract,
                        example=self._example,
                        limits=self._terms,
                        consuming=self._consuming,
                        loading=loading,
                    )
            except (ConnectionLost, InstanceUnreachable) as error:
                if isinstance(error, ConnectionRefused) and not self._attempts.reached:
                    raise
                failure: HubError = error
            except TimeoutError:
                failure = ConnectionLost("the registry", f"it did not answer a login within {limit:.3g} s")
            else:
                self._admitted(admission)
                self._attempts.succeeded()
                self._logins += 1
                self._logged_in_at = current_time()
                # A change during the login may have come before or after the ping: then nobody knows what it saw.
                self._told = None if changed.is_set() else self._consuming
                self._told_loading = loading
                self._logged_in.set()
                self._logged_in = Event()
                return
            if current_time() + delay > give_up_at:
                raise failure
            self._attempts.failed(str(failure), delay)
            await sleep(delay)

    async def _logout(self) -> None:
        try:
            await self._registry.logout(self._instance)
        except HubError as error:
            _log.warning("logout failed; the registry will find out by pings", reason=str(error))
