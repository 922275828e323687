"""The same tests on a folder and on a bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.store.s3_server import AWS_ENVIRON, S3Server, s3_environ
from topics.s3_store import S3Store
from topics.store import FileStore, ObjectStore, open_store


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for the whole session."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS_ENVIRON.items():
            patch.setenv(name, value)
        server = S3Server()
        yield server
        server.close()


@pytest.fixture
def s3_store(s3_server: S3Server, tmp_path: Path) -> Iterator[S3Store]:
    """An empty folder of a bucket of the test's own; local copies under ``data``."""
    yield from opened(s3_server, tmp_path)


@pytest.fixture
def patient_store(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    """The same, asking again where there is no answer."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    yield from opened(s3_server, tmp_path)


def opened(server: S3Server, folder: Path) -> Iterator[S3Store]:
    store = open_store(f"s3://{server.bucket()}/shop/one", s3_environ(server, folder / "data"))
    assert isinstance(store, S3Store)
    yield store
    store._client.close()


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "file":
        return FileStore(tmp_path / "store")
    found: ObjectStore = request.getfixturevalue("s3_store")
    return found
