"""``freshlens rules``: what stands at the top, higher or lower, whatever is most similar."""

import time
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from freshlens.cli.audit import operator, record
from freshlens.cli.context import Context
from freshlens.cli.printing import print_json
from query_api.ranking.rule_store import RuleStore
from query_api.ranking.rules import RuleSet, parse_rules


@click.group("rules")
def rules_group() -> None:
    """Set, show and roll back the business rules of a tenant: pins, boosts and buries.

    \b
    Example:
        freshlens --tenant shop rules set rules.json
    """


@rules_group.command("set")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--after", type=int, help="The version this one replaces; refused if there is a newer one. Default: the newest."
)
@click.pass_obj
def set_command(context: Context, file: Path, after: int | None) -> None:
    """Put the rules of a JSON file in the place of the tenant's. The API follows within some seconds.

    \b
    Example:
        freshlens --tenant shop rules set rules.json --after 3
    """
    rules = parse_rules(file.read_bytes())
    store = RuleStore(context.store())
    seen = newest_version(store, context.tenant) if after is None else after
    made = store.write(context.tenant, rules, after=seen, set_at_us=time.time_ns() // 1000, set_by=operator())
    record(context, "rules-set", context.tenant, version=made.version, rules=[rule.name for rule in rules])
    click.echo(f"rules of tenant {context.tenant} are at version {made.version}: {len(rules)} rules")


@rules_group.command("show")
@click.argument("version", type=int, required=False)
@click.pass_obj
def show_command(context: Context, version: int | None) -> None:
    """Print the tenant's rules, or an earlier version of them, as a file that `set` takes.

    \b
    Example:
        freshlens --tenant shop rules show > rules.json
    """
    store = RuleStore(context.store())
    found = store.newest(context.tenant) if version is None else store.read(context.tenant, version)
    click.echo(f"version {found.version}", err=True)
    print_json({"rules": found.rules})


@rules_group.command("history")
@click.pass_obj
def history_command(context: Context) -> None:
    """List every version: when it was set, by whom, and what it holds.

    \b
    Example:
        freshlens --tenant shop rules history
    """
    store = RuleStore(context.store())
    table = Table("version", "set", "by", "rules")
    for version in store.versions().get(context.tenant, []):
        found = store.read(context.tenant, version)
        table.add_row(str(version), _time(found.set_at_us), found.set_by, _in_short(found))
    Console().print(table)


@rules_group.command("rollback")
@click.argument("version", type=int)
@click.pass_obj
def rollback_command(context: Context, version: int) -> None:
    """Bring an earlier version back, as a new one; 0 takes every rule away.

    \b
    Example:
        freshlens --tenant shop rules rollback 2
    """
    store = RuleStore(context.store())
    rules = () if version == 0 else store.read(context.tenant, version).rules
    made = store.write(
        context.tenant,
        rules,
        after=newest_version(store, context.tenant),
        set_at_us=time.time_ns() // 1000,
        set_by=operator(),
        restores=version,
    )
    record(context, "rules-rollback", context.tenant, version=made.version, restores=version)
    click.echo(f"rules of tenant {context.tenant} are at version {made.version}: what version {version} was")


def newest_version(store: RuleStore, tenant: str) -> int:
    """0 where there are no rules. It need not be readable: a damaged version is replaced by setting a new one."""
    return max(store.versions().get(tenant, [0]))


def _in_short(found: RuleSet) -> str:
    names = ", ".join(rule.name for rule in found.rules) or "none"
    return names if found.restores is None else f"{names} (as version {found.restores})"


def _time(moment_us: int) -> str:
    return datetime.fromtimestamp(moment_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
