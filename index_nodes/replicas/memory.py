"""Memory that was freed, given back to the system."""

import ctypes


def give_back() -> None:
    """Return what the C library keeps of freed memory, some milliseconds' work; libraries without glibc's call keep it.

    A generation that is let go leaves holes all over the heap, which by itself only shrinks at its end.
    """
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
