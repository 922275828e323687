"""The ``freshlens`` command. Exit codes: 0 done, 1 the work failed, 2 wrong usage.

Subcommands are imported when they are called, so that ``freshlens search`` does not wait for what only ``up`` needs.
"""

import importlib
import sys
from pathlib import Path

import click

from freshlens.cli.context import Context
from freshlens.cli.printing import print_error
from schemas.errors import FreshlensError, SettingsError
from schemas.identity import check_tenant

COMMANDS = {
    "up": "freshlens.cli.up:up_command",
    "demo": "freshlens.cli.up:demo_command",
    "serve": "freshlens.cli.up:serve_command",
    "status": "freshlens.cli.operate:status_command",
    "logs": "freshlens.cli.operate:logs_command",
    "stop": "freshlens.cli.operate:stop_command",
    "doctor": "freshlens.cli.operate:doctor_command",
    "publish": "freshlens.cli.publish:publish_command",
    "delete": "freshlens.cli.publish:delete_command",
    "backfill": "freshlens.cli.backfill:backfill_command",
    "search": "freshlens.cli.search:search_command",
    "explain": "freshlens.cli.search:explain_command",
    "why-not": "freshlens.cli.search:why_not_command",
    "products": "freshlens.cli.search:products_group",
    "tenants": "freshlens.cli.tenants:tenants_group",
    "blocklist": "freshlens.cli.blocklist:blocklist_group",
    "keys": "freshlens.cli.keys:keys_group",
    "rules": "freshlens.cli.rules:rules_group",
    "topics": "freshlens.cli.topics:topics_group",
    "log": "freshlens.cli.log:log_group",
    "dead-letters": "freshlens.cli.dead_letters:dead_letters_group",
    "watch": "freshlens.cli.watch:watch_group",
    "export": "freshlens.cli.export:export_command",
    "evaluate": "freshlens.cli.evaluate:evaluate_command",
    "calibrate": "freshlens.cli.calibrate:calibrate_command",
    "compact": "freshlens.cli.generations:compact_command",
    "generations": "freshlens.cli.generations:generations_group",
    "plan": "freshlens.cli.plan:plan_command",
}


class _LazyGroup(click.Group):
    """Finds a command by name and imports only its module."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            said = f"`freshlens {cmd_name}` needs {error.name}, which is not installed: pip install 'freshlens[server]'"
            raise SettingsError(said) from error
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="FRESHLENS_DATA",
    default=Path(".freshlens"),
    show_default=True,
    help="Data directory. [env: FRESHLENS_DATA]",
)
@click.option("--tenant", envvar="FRESHLENS_TENANT", default="default", show_default=True, help="Whose products.")
@click.version_option(package_name="freshlens")
@click.pass_context
def cli(ctx: click.Context, data: Path, tenant: str) -> None:
    """Freshlens: real-time visual product search that lives on Kafka.

    \b
    Example:
        freshlens up
        freshlens publish products.jsonl --wait
        freshlens search --image photo.jpg
    """
    ctx.obj = Context(data, check_tenant(tenant))


def main() -> None:
    """The entry point: our errors end in one line with their code, and exit code 1."""
    try:
        cli(_options_first(sys.argv[1:]), prog_name="freshlens", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as usage:
        usage.show()
        sys.exit(usage.exit_code)
    except FreshlensError as error:
        print_error(error)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)


def _options_first(arguments: list[str]) -> list[str]:
    """Move ``--data`` and ``--tenant`` before the command: they may stand anywhere, as in ``freshlens up --data X``."""
    moved: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            return [*moved, *rest, argument, *remaining]
        if argument in ("--data", "--tenant"):
            moved += [argument, *(value for value in [next(remaining, None)] if value is not None)]
        elif argument.startswith(("--data=", "--tenant=")):
            moved.append(argument)
        else:
            rest.append(argument)
    return [*moved, *rest]
