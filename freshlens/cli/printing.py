"""How commands print what the API answered, and why they failed."""

from typing import Any

import click
import msgspec

from schemas.errors import FreshlensError, SettingsError


def print_json(value: Any) -> None:
    """Print a struct, or what it is made of, as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_error(error: FreshlensError) -> None:
    """Print the error to stderr with its code; each problem of a SettingsError in a line of its own."""
    problems = error.problems if isinstance(error, SettingsError) else [error.message]
    for problem in problems:
        click.echo(f"{error.code}: {problem}", err=True)
