"""Memory that goes back to the system when it is free."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_MMAP_THRESHOLD: Final = -3
"""`M_MMAP_THRESHOLD` of glibc's `malloc.h`."""

_LARGE: Final = 1024 * 1024


def return_large_blocks() -> bool:
    """Makes the allocator of C return each block of 1 MiB or more to the system when it is freed; whether it can.

    By itself glibc does so only until the first of them is freed. It keeps blocks of up to this size afterwards, between
    small ones that stay: a gateway kept 8 copies of a big body for each that it had had at once. Enlarging a block that is
    mapped does not copy it either. In exchange each big block costs page faults, about 0.3 ms for a megabyte, so this is
    not for the processes of models, which may take and free arrays all the time.

    Without effect if the environment sets `MALLOC_MMAP_THRESHOLD_`, and on other C libraries.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE))
    except (AttributeError, OSError):
        return False
