"""Memory that was freed, given back to the system; with other C libraries than glibc nothing is done."""

import ctypes

_M_MMAP_THRESHOLD = -3
"""The parameter of mallopt(3): larger blocks are mapped on their own, and unmapped when they are freed."""
_LARGE_BYTES = 1 << 20


def give_back_large_blocks() -> None:
    """From now on, return every block of a megabyte and more to the system as soon as it is freed.

    By itself glibc takes such blocks from the heap once it has seen some freed, and keeps them between small ones.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Return what the C library keeps of freed memory, some milliseconds' work.

    A generation that is let go leaves holes all over the heap, which by itself only shrinks at its end.
    """
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
