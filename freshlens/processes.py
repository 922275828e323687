"""The roles of Freshlens: what each process of the product runs, and with which environment."""

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import cast

import structlog

from freshlens.telemetry import PrometheusMetrics
from processors.encoders.open_clip_encoder import BUNDLED, is_vectors_only, space_of
from schemas.errors import SettingsError

ROLES = ("encoder", "search", "node", "embed", "deletes", "feedback", "compactor", "api")
"""In the order in which they are started. ``search`` is ``node`` and ``api`` in one process."""

OnReady = Callable[[], None]
_YOUNG_MAX = 20_000
"""New objects after which the garbage collector looks for those that refer to each other; Python's own is 700."""
_log = structlog.get_logger()


def serve(role: str, environ: Mapping[str, str], metrics: PrometheusMetrics, on_ready: OnReady) -> None:
    """Run one role in this process until it is told to stop (SIGTERM, SIGINT).

    A role is imported only here, so that torch and FAISS never meet in one process.

    Raises:
        SettingsError: no such role, or its settings are wrong; every problem is listed.
        StorageError: the process had to stop; its docstring says what the operator does.
    """
    on_ready = settled(on_ready)
    if role in ("embed", "deletes", "feedback"):
        from streams import worker
        from streams.settings import StreamsSettings

        worker.run(cast(worker.Role, role), StreamsSettings.from_env(environ), metrics, on_ready)
    elif role == "node":
        from index_nodes import node
        from index_nodes.settings import NodeSettings

        node.run(NodeSettings.from_env(environ), metrics, on_ready)
    elif role == "search":
        from freshlens import search_process
        from index_nodes.settings import NodeSettings
        from query_api.settings import ApiSettings

        search_process.run(
            NodeSettings.from_env(environ), ApiSettings.from_env(environ), metrics, on_ready, metrics.render
        )
    elif role == "compactor":
        from index_nodes.compaction import compactor
        from index_nodes.settings import CompactorSettings

        compactor.run(CompactorSettings.from_env(environ), metrics, on_ready)
    elif role == "encoder":
        from query_api.encoder import service as encoder_service
        from query_api.settings import EncoderServiceSettings

        encoder_service.run(EncoderServiceSettings.from_env(environ), metrics, on_ready)
    elif role == "api":
        from query_api import serve as api
        from query_api.settings import ApiSettings

        api.run(ApiSettings.from_env(environ), metrics, on_ready, metrics.render)
    else:
        raise SettingsError(f"there is no role {role!r}; there are {', '.join(ROLES)}")


def settled(then: OnReady) -> OnReady:
    """Before ``then``, take what was loaded out of the garbage collector's sight.

    It stays for as long as the process, and to look at all of it again holds up everything: beside torch for the better
    part of a second. So would looking at what is young after every other search, whose objects go by themselves.
    """

    def settle() -> None:
        gc.collect()
        gc.freeze()
        # Libraries that count at the end what is left would complain.
        atexit.register(gc.unfreeze)
        gc.set_threshold(_YOUNG_MAX, *gc.get_threshold()[1:])
        then()

    return settle


def with_space(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with FRESHLENS_SPACE, where the encoder's space is known without its model.

    An open_clip model's is not: asking would bring torch into every process, so it must be set there.
    """
    encoder = environ.get("FRESHLENS_ENCODER") or BUNDLED
    if environ.get("FRESHLENS_SPACE") or not (encoder == BUNDLED or is_vectors_only(encoder)):
        return environ
    return {**environ, "FRESHLENS_SPACE": str(space_of(encoder))}


def stop_with_parent() -> None:
    """Stop this process when its parent ends, however it ends: the parent holds the other end of our stdin."""

    stdin = sys.stdin.fileno()

    def watch() -> None:
        while os.read(stdin, 4096):  # not sys.stdin: its lock would abort the interpreter's own end
            pass
        _log.info("parent-gone")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
