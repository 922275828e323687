"""An S3 server on loopback that can be told to misbehave."""

import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Environ = dict[str, Any]
Answer = Iterable[bytes]
App = Callable[[Environ, Callable[..., Any]], Answer]
Fault = Callable[[App, Environ, Callable[..., Any]], Answer]


class S3Server:
    """Moto's S3, one request at a time: its check of a condition and its write are two steps.

    ``fault``: is asked instead of the server, which it may call or not.
    """

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.fault: Fault | None = None
        self.requests: list[tuple[str, str]] = []
        self._moto: App = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{uuid.uuid4().hex}"
        client = boto3.client("s3", endpoint_url=self.endpoint)
        client.create_bucket(Bucket=name)
        client.close()
        return name

    @contextmanager
    def misbehaving(self, fault: Fault) -> Iterator[None]:
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: Environ, start: Callable[..., Any]) -> Answer:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if self.fault is not None:
            return self.fault(self._locked, environ, start)
        return self._locked(environ, start)

    def _locked(self, environ: Environ, start: Callable[..., Any]) -> Answer:
        with self._lock:
            return list(self._moto(environ, start))


def s3_environ(server: S3Server, data: Path) -> dict[str, str]:
    """What open_store reads."""
    return {"FRESHLENS_S3_ENDPOINT": server.endpoint, "FRESHLENS_DATA": str(data)}


AWS_ENVIRON = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def refused(status: str) -> Fault:
    """Answers every request so, without doing it."""

    def fault(server: App, environ: Environ, start: Callable[..., Any]) -> Answer:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(status, [("Content-Length", "0")])
        return [b""]

    return fault


def without_conditions(server: App, environ: Environ, start: Callable[..., Any]) -> Answer:
    """A store that does not know If-None-Match."""
    environ.pop("HTTP_IF_NONE_MATCH", None)
    return server(environ, start)


def answer_lost_once() -> Fault:
    """The first PUT is done, and its answer is an error."""
    is_first = True

    def fault(server: App, environ: Environ, start: Callable[..., Any]) -> Answer:
        nonlocal is_first
        if is_first and environ["REQUEST_METHOD"] == "PUT":
            is_first = False
            list(server(environ, lambda *_, **__: None))
            return refused("503 Slow Down")(server, {**environ, "CONTENT_LENGTH": "0"}, start)
        return server(environ, start)

    return fault
