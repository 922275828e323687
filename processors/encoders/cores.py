"""How the processor's cores are shared between the model and the decoders. Pure."""

import os

LARGE_PARAMETERS = 20_000_000
"""From here on a picture takes the model far longer than its decoder."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def decoders(cores: int) -> int:
    """Processes that decode: one for each core, as a decoder waits while the model works on what it gave."""
    return max(1, cores)


def encoder_threads(parameters: int, cores: int) -> int:
    """Threads of a model that has decoders beside it.

    A large model needs every core. Of a small one each call is over so soon that its threads mostly wait for the one
    which shares its core with a decoder: half of the cores give more.
    """
    return cores if parameters >= LARGE_PARAMETERS else max(1, cores // 2)


def threads(asked: int | None, parameters: int) -> int:
    """Threads of a model with so many parameters. ``asked``: None is one per core; 0 leaves room for decoders."""
    if asked == 0:
        return encoder_threads(parameters, cores())
    return asked or cores()
