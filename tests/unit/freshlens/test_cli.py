"""The command's face: help with an example everywhere, exit codes, errors with code and way out."""

import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from freshlens.cli import COMMANDS, _options_first, cli
from freshlens.cli.dead_letters import _table
from freshlens.dead_letters import Found
from freshlens.launcher import chosen_port
from schemas.errors import SettingsError
from schemas.events import DeadLetter, Source


def _commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", child) for sub, child in command.commands.items())


@pytest.mark.parametrize(("name", "command"), list(_commands()))
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    assert command.help, name
    assert "Example:" in command.help, name
    assert "freshlens" in command.help.split("Example:")[1], name


def test_data_and_tenant_may_stand_after_the_command() -> None:
    assert _options_first(["up", "--data", "x", "--port", "0"]) == ["--data", "x", "up", "--port", "0"]
    assert _options_first(["search", "--tenant=demo", "--", "--data"]) == ["--tenant=demo", "search", "--", "--data"]


def _freshlens(*arguments: str, data: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "freshlens", "--data", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_nothing_running_is_exit_1_with_code_and_way_out(tmp_path: Path) -> None:
    done = _freshlens("status", data=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("settings: nothing runs in")
    assert "freshlens up" in done.stderr


FAILING_ROLE = """
import threading
from freshlens import processes
from freshlens.cli import main
from schemas.errors import BrokerUnavailable

def serve(*_):
    threading.Thread(target=threading.Event().wait).start()
    raise {raised}

processes.serve = serve
main()
"""


@pytest.mark.parametrize(
    ("raised", "said"),
    [("BrokerUnavailable('gone')", "broker-unavailable: gone\n"), ("KeyError('why')", "KeyError: 'why'\n")],
)
def test_a_role_that_fails_says_why_and_ends_whatever_threads_it_leaves(raised: str, said: str, tmp_path: Path) -> None:
    code = FAILING_ROLE.format(raised=raised)
    command = [sys.executable, "-c", code, "--data", str(tmp_path), "serve", "deletes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith(said)


def test_a_command_of_the_server_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; from freshlens.cli import main; main()"
    command = [sys.executable, "-c", code, "--data", str(tmp_path), "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("settings: `freshlens status` needs prometheus_client")
    assert "freshlens[server]" in done.stderr


def test_wrong_usage_is_exit_2(tmp_path: Path) -> None:
    assert _freshlens("search", "--k", "nothing", data=tmp_path).returncode == 2
    assert _freshlens("no-such-command", data=tmp_path).returncode == 2


@pytest.mark.parametrize("option", ["--products", "--qps", "--events-per-s", "--vectors-in-ram", "--core-hour"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_plan_takes_finite_numbers_only(option: str, number: str) -> None:
    planned = CliRunner().invoke(
        cli, ["plan", *([] if option == "--products" else ["--products", "1"]), option, number]
    )
    assert planned.exit_code == 2, planned.output


def test_dead_letters_can_be_read_at_80_columns() -> None:
    source = Source("product-added", 11, 1_234_567, 0)
    reason = "a picture of 12 bytes is truncated: [bold]premature end of data[/bold] after the header of the file"
    letter = DeadLetter(
        "undecodable-image", reason, source, b"shop/summer-dress-0012", None, b"", 3, 1_795_000_000_000_000
    )
    console = Console(width=80, file=io.StringIO(), markup=True)
    console.print(_table([Found(3, 123_456, letter)]))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 6, lines
    for word in (
        "3:123456",
        "2026-11-18 11:06:40",
        "undecodable-image",
        "shop/summer-dress-0012",
        "product-added[11]@1234567",
    ):
        assert any(word in line for line in lines), word


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="--port") as caught:
            chosen_port("127.0.0.1", taken.getsockname()[1])
    assert caught.value.code == "port-in-use"
