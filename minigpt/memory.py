"""How the process gets its memory from the system."""

import ctypes
import platform


def keep_freed_memory() -> None:
    """Let glibc keep what is freed: the next step needs it, and fresh pages are dear."""
    trim_threshold, mmap_threshold = -1, -3  # glibc's malloc.h
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 << 20)  # bytes, the most that it takes
        libc.mallopt(trim_threshold, 2**31 - 1)
