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
    """Makes the kernel kill this process and its process group as soon as the other end of a pipe is closed.

    Only the process that started this one has the other end, so it closes when that process ends, in any way. No code in
    this process can prevent it. `PR_SET_PDEATHSIG` depends on the *thread* that started this process, and trio starts
    processes from worker threads, which end after some idle time; see
    `docs/decisions/058-lifeline-pipe-kills-orphaned-processes.md`.

    Args:
        lifeline: The read end of the pipe. The write end is never written to.
    """
    fcntl(lifeline, F_SETOWN, -os.getpgrp())
    fcntl(lifeline, F_SETSIG, signal.SIGKILL)
    fcntl(lifeline, F_SETFL, fcntl(lifeline, F_GETFL) | os.O_ASYNC)
    closed = poll()
    closed.register(lifeline, 0)
    if closed.poll(0):  # it was closed before the kernel was set up
        os._exit(1)
