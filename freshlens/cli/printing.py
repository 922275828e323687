"""How commands print what the API answered."""

from typing import Any

import click
import msgspec


def print_json(value: Any) -> None:
    """Print a struct, or what it is made of, as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
