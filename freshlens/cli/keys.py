"""``freshlens keys``: who may ask the query API."""

import json
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import cast

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from freshlens.cli.audit import operator, record
from freshlens.cli.context import Context
from query_api.access.api_keys import EVERY_TENANT, SCOPES, ApiKey, KeyStore, Revocation, Scope, new_key
from schemas.errors import StorageError

_SPANS_US = {"h": 3_600_000_000, "d": 86_400_000_000}


@click.group("keys")
def keys_group() -> None:
    """Make, list and revoke API keys. Once the first one exists, every request needs one.

    \b
    Example:
        freshlens keys create web-shop --tenant shop --scopes search,feedback
    """


@keys_group.command("create")
@click.argument("name")
@click.option("--scopes", required=True, help=f"One or more of {', '.join(SCOPES)}, with commas.")
@click.option("--all-tenants", is_flag=True, help="An operator's key: it may name any tenant. Needs the scope admin.")
@click.option("--rate", help="Most requests a second, as in 20/s.")
@click.option("--quota", help="Most requests a day, as in 50000/day.")
@click.option("--expires", help="After a time, as in 90d or 12h, or at one, as in 2027-01-31 (UTC).")
@click.pass_obj
def create_command(
    context: Context,
    name: str,
    scopes: str,
    all_tenants: bool,
    rate: str | None,
    quota: str | None,
    expires: str | None,
) -> None:
    """Make a key for the tenant given by --tenant, and print it: it cannot be shown a second time.

    Only a hash of it is kept. The API knows it within some seconds. Rates and quotas count per API process.

    \b
    Example:
        freshlens keys create web-shop --tenant shop --scopes search,feedback --rate 50/s --expires 90d
    """
    now_us = time.time_ns() // 1000
    new = new_key(
        name,
        tenant=EVERY_TENANT if all_tenants else context.tenant,
        scopes=scopes_of(scopes),
        created_at_us=now_us,
        created_by=operator(),
        expires_at_us=None if expires is None else expiry_us(expires, now_us),
        rate_per_s=None if rate is None else per(rate, "s"),
        quota_per_day=None if quota is None else int(per(quota, "day")),
    )
    KeyStore(context.store()).create(new)
    record(context, "key-create", new.key.id, tenant=new.key.tenant, scopes=new.key.scopes, name=name)
    click.echo(f"key {new.key.id} for {_tenant(new.key)}: {', '.join(new.key.scopes)}", err=True)
    click.echo(
        "keep it now, it is not shown again; send it as Authorization: Bearer, or set FRESHLENS_API_KEY", err=True
    )
    click.echo(new.text)


@keys_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.pass_obj
def list_command(context: Context, as_json: bool) -> None:
    """List all keys ever made, without their secrets.

    \b
    Example:
        freshlens keys list
    """
    store = KeyStore(context.store())
    now_us = time.time_ns() // 1000
    ever, revoked = store.ids()
    keys, unreadable = _read(store, ever)
    states = {key.id: _state(key, store if key.id in revoked else None, now_us) for key in keys}
    if as_json:
        for key in keys:
            told = {name: value for name, value in msgspec.to_builtins(key).items() if name != "digest"}
            click.echo(json.dumps({**told, "state": states[key.id]}))
    else:
        Console().print(_table(keys, states))
    for error in unreadable:
        click.echo(f"{error.code}: {error.message}; it lets nobody in", err=True)


@keys_group.command("revoke")
@click.argument("key_id", metavar="ID")
@click.pass_obj
def revoke_command(context: Context, key_id: str) -> None:
    """Revoke a key for ever; the API refuses it within some seconds (FRESHLENS_KEYS_POLL_S).

    \b
    Example:
        freshlens keys revoke 0123456789ab
    """
    revocation = Revocation(time.time_ns() // 1000, operator())
    is_new = KeyStore(context.store()).revoke(key_id, revocation)
    record(context, "key-revoke", key_id)
    click.echo(f"revoked {key_id}" if is_new else f"{key_id} was revoked before")


def scopes_of(text: str) -> list[Scope]:
    """The scopes within ``search,feedback``; raises UsageError naming those that exist."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := sorted(set(names) - set(SCOPES)):
        raise click.UsageError(f"there is no scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    return cast("list[Scope]", names)


def per(text: str, unit: str) -> float:
    """The number within ``20/s`` or ``50000/day``; of a day, a whole one. Raises UsageError."""
    number, _, rest = text.partition("/")
    form = r"\d+(\.\d+)?" if unit == "s" else r"\d+"
    if rest not in ("", unit) or not re.fullmatch(form, number) or not float(number) > 0:
        raise click.UsageError(f"{text!r} is not a number above 0 and /{unit}, as in 20/{unit}")
    return float(number)


def expiry_us(text: str, now_us: int) -> int:
    """The moment that ``90d``, ``12h`` or a date in UTC means, in microseconds since 1970. Raises UsageError."""
    if span := re.fullmatch(r"(\d{1,6})([hd])", text):
        return now_us + int(span[1]) * _SPANS_US[span[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is neither a span as 90d or 12h nor a date as 2027-01-31") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def has_keys(context: Context) -> bool:
    """Whether a key was ever made here."""
    return bool(KeyStore(context.store()).ids()[0])


def _read(store: KeyStore, ids: Iterable[str]) -> tuple[list[ApiKey], list[StorageError]]:
    keys: list[ApiKey] = []
    unreadable: list[StorageError] = []
    for key_id in sorted(ids):
        try:
            keys.append(store.read(key_id))
        except StorageError as error:
            unreadable.append(error)
    return sorted(keys, key=lambda key: (key.created_at_us, key.id)), unreadable


def _table(keys: Iterable[ApiKey], states: Mapping[str, str]) -> Table:
    """What is to be read at 80 characters; the JSON lines have the rest."""
    table = Table(Column("id", no_wrap=True), "name", "tenant", "scopes", "limits", "state", box=None, pad_edge=False)
    for key in keys:
        limits = [
            *([] if key.rate_per_s is None else [f"{key.rate_per_s:g}/s"]),
            *([] if key.quota_per_day is None else [f"{key.quota_per_day}/day"]),
        ]
        ends = "" if key.expires_at_us is None or states[key.id] != "valid" else f" until {_time(key.expires_at_us)}"
        texts = (key.name, key.tenant, ", ".join(key.scopes), ", ".join(limits), states[key.id] + ends)
        table.add_row(key.id, *map(escape, texts))
    return table


def _state(key: ApiKey, revoked_in: KeyStore | None, now_us: int) -> str:
    revocation = revoked_in.revocation(key.id) if revoked_in else None
    if revocation is not None:
        return f"revoked {_time(revocation.revoked_at_us)}"
    return "expired" if key.is_expired(now_us) else "valid"


def _time(moment_us: int) -> str:
    return datetime.fromtimestamp(moment_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")


def _tenant(key: ApiKey) -> str:
    return "every tenant" if key.tenant == EVERY_TENANT else f"tenant {key.tenant}"
