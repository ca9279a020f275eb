"""What the C library does with freed memory."""

import ctypes
import functools


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of freed memory for this process; does nothing with another C library.

    An array of some megabytes is otherwise mapped anew at every use, page by page: half of the time that images of 512² take.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # 32 MiB is where glibc's growing threshold ends; larger arrays are mapped and returned as ever.
        mmap_threshold, trim_threshold = -3, -1
        mallopt(mmap_threshold, 32 * 2**20)
        mallopt(trim_threshold, 256 * 2**20)
