"""What operators change by command is on record: one line of JSON in ``DATA/logs/audit.log``."""

import getpass
import os

import structlog

from freshlens.cli.context import Context


def record(context: Context, action: str, what: str, **facts: object) -> None:
    """Add a line: when, who, which action, on which object."""
    folder = context.data / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "audit.log").open("a") as file:
        log = structlog.wrap_logger(
            structlog.WriteLogger(file),
            processors=[structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()],
        )
        log.info("audit", action=action, object=what, by=operator(), **facts)


def operator() -> str:
    """The user of this machine who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())
