"""Ties the end of a process to the end of the one that started it."""

from __future__ import annotations

import os
import signal
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl
from select import poll
from typing import Final

F_SETSIG: Final = 10
"""Linux: sets the signal that `O_ASYNC` sends. The `fcntl` module has no name for it before Python 3.12."""


def die_with_parent(lifeline: int) -> None:
    """Has the kernel kill this process and the rest of its process group once the other end of a pipe is closed.

    The other end is in the process that started this one, and nowhere else, so it closes when that process ends in
    whatever way. Nothing in here can prevent it. `PR_SET_PDEATHSIG` would be about the *thread* that started this
    process, and trio starts processes from worker threads, which end when they have been idle; see
    `docs/decisions/058-a-lifeline-for-child-processes.md`.

    Args:
        lifeline: The end of the pipe to read from. Nobody ever writes to the other one.
    """
    fcntl(lifeline, F_SETOWN, -os.getpgrp())
    fcntl(lifeline, F_SETSIG, signal.SIGKILL)
    fcntl(lifeline, F_SETFL, fcntl(lifeline, F_GETFL) | os.O_ASYNC)
    closed = poll()
    closed.register(lifeline, 0)
    if closed.poll(0):  # it was closed before the kernel was told what to do then
        os._exit(1)
