"""What a process reads again every few seconds: keys, business rules."""

import asyncio
from collections.abc import Callable

import structlog

from schemas.errors import FreshlensError, TransientError

log = structlog.get_logger()


async def follow(what: str, refresh: Callable[[], None], every_s: float) -> None:
    """Refresh for ever, in a thread; a store that does not answer leaves what is known as it is."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await asyncio.to_thread(refresh)
        except (OSError, TransientError) as error:
            log.warning(f"{what} not read", error=str(error))
        except Exception as error:
            code = error.code if isinstance(error, FreshlensError) else "internal"
            log.exception(f"{what} not read", code=code)
