"""The memory of a process that is watched for growth."""

import ctypes
import gc
import os
from pathlib import Path
from typing import Final

STATM: Final = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of memory that this process has; 0 where the system does not say."""
    if not STATM.exists():
        return 0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def trim() -> None:
    """Give back what is free, where the C library can: the buffers of TLS leave it in pieces."""
    gc.collect()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
