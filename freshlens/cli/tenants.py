"""``freshlens tenants``: what a tenant declares about its events."""

import json
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from freshlens.cli.audit import record
from freshlens.cli.context import Context
from schemas.errors import FreshlensError, SettingsError
from schemas.identity import check_tenant
from schemas.versions import VersionKind
from topics.tenants import TenantDirectory


class _Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of ``--attributes``."""

    attributes: dict[str, str] = {}
    volatile: tuple[str, ...] = ()


@click.group("tenants")
def tenants_group() -> None:
    """Declare a tenant's kind of versions and its attributes.

    \b
    Example:
        freshlens tenants set shop --versions sequence
    """


@tenants_group.command("list")
@click.pass_obj
def list_command(context: Context) -> None:
    """List what tenants declared; the others have microsecond versions and no declared attributes.

    \b
    Example:
        freshlens tenants list
    """
    for declaration in TenantDirectory(context.store()).list():
        click.echo(json.dumps(msgspec.to_builtins(declaration)))


@tenants_group.command("set")
@click.argument("name")
@click.option("--versions", type=click.Choice([kind.value for kind in VersionKind]), help="The kind of its versions.")
@click.option(
    "--attributes",
    "attributes_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON: {"attributes": {"colour": "string"}, "volatile": ["campaign"]}.',
)
@click.option("--new", is_flag=True, help="The tenant has published nothing yet; without it the query API is asked.")
@click.pass_obj
def set_command(context: Context, name: str, versions: str | None, attributes_file: Path | None, new: bool) -> None:
    """Declare a tenant; what is not given stays as it is. Workers follow within some seconds.

    The kind of versions is chosen before anything is published.

    \b
    Example:
        freshlens tenants set shop --versions sequence --attributes attributes.json
    """
    directory = TenantDirectory(context.store())
    declaration = directory.declaration(check_tenant(name))
    if versions is not None:
        if versions != declaration.versions.value and not directory.is_declared(name) and not new:
            _check_has_no_products(replace(context, tenant=name))
        declaration = msgspec.structs.replace(declaration, versions=VersionKind(versions))
    if attributes_file is not None:
        declared = _read(attributes_file)
        declaration = msgspec.structs.replace(declaration, attributes=declared.attributes, volatile=declared.volatile)
    directory.declare(declaration)
    record(context, "tenant-set", name, versions=declaration.versions.value)
    click.echo(json.dumps(msgspec.to_builtins(declaration)))


def _check_has_no_products(context: Context) -> None:
    """Compared with the microseconds of what was published, every number in a sequence would be an older version."""
    try:
        with context.client() as client:
            products = client.products(limit=1).products
    except FreshlensError as error:
        raise SettingsError(
            f"whether tenant {context.tenant} has published anything cannot be told ({error.message}); "
            "if it has not, say so with --new"
        ) from error
    if products:
        raise SettingsError(
            f"tenant {context.tenant} has products with microsecond versions, which no number in a sequence would win "
            "over: use a new tenant"
        )


def _read(path: Path) -> _Declared:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Declared)
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
