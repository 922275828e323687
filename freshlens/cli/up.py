"""``freshlens up``, ``demo`` and ``serve``: running the product."""

import asyncio
import logging
import os
import sys
import traceback

import click
import structlog

from freshlens.cli.context import Context
from freshlens.cli.printing import print_error
from freshlens.processes import ROLES
from schemas.errors import FreshlensError

host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Where to serve.")
port_option = click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any.")
kafka_port_option = click.option(
    "--kafka-port", type=click.IntRange(0, 65535), default=0, help="Port of the embedded broker. [default: any free]"
)


@click.command("up")
@host_option
@port_option
@kafka_port_option
@click.option("--no-demo", is_flag=True, help="Do not draw and publish the demo catalogue.")
@click.pass_obj
def up_command(context: Context, host: str, port: int, kafka_port: int, no_demo: bool) -> None:
    """Run everything on this machine until Ctrl-C.

    Without KAFKA_BOOTSTRAP_SERVERS it brings its own Apache Kafka. What is published stays in the data directory:
    the next `up` starts where this one stopped.

    \b
    Example:
        freshlens up --data ./shop --port 8080 --no-demo
    """
    _run(context, host, port, kafka_port, demo=not no_demo, with_search=False)


@click.command("demo")
@host_option
@port_option
@kafka_port_option
@click.pass_obj
def demo_command(context: Context, host: str, port: int, kafka_port: int) -> None:
    """Run everything with the demo catalogue, and answer a first search in the terminal.

    With DEMO_EXIT=1 it stops after that search; otherwise it serves until Ctrl-C.

    \b
    Example:
        freshlens demo
    """
    _run(context, host, port, kafka_port, demo=True, with_search=True)


def _run(context: Context, host: str, port: int, kafka_port: int, *, demo: bool, with_search: bool) -> None:
    from freshlens.cli.keys import has_keys
    from freshlens.demo import Demo
    from freshlens.launcher import Launcher, UpSettings
    from query_api.settings import check_host

    environ = dict(context.environ)
    settings = UpSettings(context.data, host, port, kafka_port, environ)
    with_keys = has_keys(context)
    check_host(host, has_keys=with_keys)
    if demo and with_keys:
        _say("demo: left out, since API keys exist here")
        demo = False

    ends_after_search = with_search and environ.get("DEMO_EXIT") == "1"

    async def run() -> None:
        launcher = Launcher(settings, _say)
        if not await launcher.start():
            return
        try:
            if demo and not settings.encoder.startswith("none:"):
                try:
                    await launcher.or_stopped(Demo(context, launcher.url, _say).run(with_search=with_search))
                except FreshlensError as error:
                    if ends_after_search:
                        raise
                    _say(f"demo: given up, all else goes on: {error.code}: {error.message}")
            if ends_after_search:
                launcher.request_stop()
            await launcher.until_stopped()
        finally:
            await launcher.stop()

    asyncio.run(run())


@click.command("serve")
@click.argument("role", type=click.Choice(ROLES))
@click.option("--supervised", is_flag=True, help="Stop when stdin closes, as `up` wants it.")
@click.pass_obj
def serve_command(context: Context, role: str, supervised: bool) -> None:
    """Run one process of the product, configured by the environment.

    \b
    Example:
        KAFKA_BOOTSTRAP_SERVERS=kafka:9092 freshlens serve node
    """
    from freshlens import processes
    from freshlens.telemetry import PrometheusMetrics, serve_metrics

    configure_logging()
    if supervised:
        processes.stop_with_parent()
    if metrics_port := os.environ.get("FRESHLENS_METRICS_PORT"):
        serve_metrics(int(metrics_port))
    environ = {"FRESHLENS_DATA": str(context.data.resolve()), **context.environ}
    code = 1
    try:
        processes.serve(role, processes.with_space(environ), PrometheusMetrics(), lambda: _say("ready"))
        code = 0
    except FreshlensError as error:
        print_error(error)
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    # Torch's own teardown would take seconds more, and a thread that a library left behind would keep the process for
    # ever; a supervisor waits for both.
    os._exit(code)


def configure_logging() -> None:
    """One JSON line per event on stderr; libraries' warnings in the same form."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()
