"""``freshlens tenants``: what a tenant declares about its events."""

import json
from pathlib import Path

import click
import msgspec

from freshlens.cli.audit import record
from freshlens.cli.context import Context
from schemas.errors import SettingsError
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
@click.pass_obj
def set_command(context: Context, name: str, versions: str | None, attributes_file: Path | None) -> None:
    """Declare a tenant; what is not given stays as it is. Workers follow within some seconds.

    \b
    Example:
        freshlens tenants set shop --versions sequence --attributes attributes.json
    """
    directory = TenantDirectory(context.store())
    declaration = directory.declaration(check_tenant(name))
    if versions is not None:
        declaration = msgspec.structs.replace(declaration, versions=VersionKind(versions))
    if attributes_file is not None:
        declared = _read(attributes_file)
        declaration = msgspec.structs.replace(declaration, attributes=declared.attributes, volatile=declared.volatile)
    directory.declare(declaration)
    record(context, "tenant-set", name, versions=declaration.versions.value)
    click.echo(json.dumps(msgspec.to_builtins(declaration)))


def _read(path: Path) -> _Declared:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Declared)
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
