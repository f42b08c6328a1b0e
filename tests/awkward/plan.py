"""The tasks of each awkward model, and their expected outcomes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One awkward model.

    Attributes:
        model: Name of its class in `tests.awkward.models`.
        message: Content of each request.
        tasks: Tasks submitted at once.
        state: Expected terminal state of each task.
        shown: Text in the view of each of them: the reply, or the code or the text of the failure.
        call: Status of a synchronous call; `None` for no call.
        starves: Whether everything in the same process has to wait for it. That is documented, and then not undisturbed.
    """

    model: str
    message: str = ""
    tasks: int = 1
    state: str = "succeeded"
    shown: str = "done"
    call: int | None = 200
    starves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of a run; durations in seconds.

    Attributes:
        computes: Duration of a task of `Computes`.
        letters: That `HoldsGil` matches; 24 hold the GIL for half a second, 28 for about six.
        slow_run: Duration of a task of `SlowRun`.
        slow_setup: Duration of the setup of `SlowSetup`.
        quiet: Time for which only the good model is called, at first.
        least: Time for which each awkward model is kept at work, at least.
        period: Between two calls of the good model.
    """

    computes: float = 45.0
    letters: int = 28
    slow_run: float = 30.0
    slow_setup: float = 40.0
    quiet: float = 5.0
    least: float = 3.0
    period: float = 0.05

    def cases(self) -> tuple[Case, ...]:
        failed = "failed"
        return (
            Case(model="LongError", tasks=5, state=failed, shown="cannot decode 3f3f", call=502),
            Case(model="ShortError", tasks=20, state=failed, shown="no such voice", call=502),
            Case(model="Exits", tasks=3, state=failed, shown="SystemExit", call=502),
            Case(model="ExitsAsync", tasks=3, state=failed, shown="KeyboardInterrupt", call=502),
            Case(model="StopsChild", tasks=2, shown="exit code -15"),
            Case(model="PlainHealth", tasks=3),
            Case(model="Deep", tasks=2, state=failed, shown="nested", call=502),
            Case(model="NoJson", tasks=2, shown="result_url", call=502),
            Case(model="HoldsGil", message=f"{self.letters}", call=None, starves=True),
            Case(model="Computes", message=f"{self.computes}", call=None),
            Case(model="SlowRun", message=f"{self.slow_run}", call=None),
            Case(model="SlowSetup"),
        )


SHORT = Plan(computes=4.0, letters=22, slow_run=1.0, slow_setup=3.0, quiet=1.0, least=0.5)
