"""Apache Kafka's jars for the embedded broker: fetched once from Maven Central, kept in the Maven cache."""

import fcntl
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from schemas.errors import SettingsError

KAFKA_VERSION = "4.1.0"
_ENDPOINTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Without a binding for slf4j the broker logs nothing, and a failed start would stay silent.
    "org.slf4j:slf4j-simple:1.7.36",
)
Tell = Callable[[str], None]
"""Takes one line of progress for a person."""


def broker_jars(remembered_at: Path, tell: Tell) -> list[Path]:
    """The class path of the broker; ``remembered_at`` is a file that saves later starts from resolving it again.

    Raises:
        SettingsError: ``broker-jars-unavailable`` when they are neither here nor to be fetched.
    """
    if jars := _remembered(remembered_at):
        return jars
    try:
        jars = _resolved(tell)
    except ImportError as error:
        raise _unavailable(f"{error}: install freshlens[server]") from error
    except (OSError, RuntimeError) as error:
        raise _unavailable(f"{type(error).__name__}: {error}") from error
    content = {"kafka": KAFKA_VERSION, "jars": {str(jar): jar.stat().st_size for jar in jars}}
    remembered_at.write_text(json.dumps(content, indent=1))
    return jars


def _unavailable(reason: str) -> SettingsError:
    return SettingsError(
        f"Apache Kafka {KAFKA_VERSION} cannot be fetched from Maven Central ({reason[:300]}). It is needed once: "
        "start where there is a network, or copy the Maven repository (~/.m2/repository, or M2_REPO) of a machine "
        "that has it, or set KAFKA_BOOTSTRAP_SERVERS to a Kafka of your own",
        code="broker-jars-unavailable",
    )


def _remembered(path: Path) -> list[Path]:
    try:
        content = json.loads(path.read_text())
        sizes = {Path(jar): size for jar, size in content["jars"].items()}
        complete = content["kafka"] == KAFKA_VERSION and all(jar.stat().st_size == size for jar, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return []
    return list(sizes) if complete else []


@retry(
    retry=retry_if_exception_type((OSError, RuntimeError)),
    stop=stop_after_attempt(3),
    wait=wait_fixed(2),
    reraise=True,
)
def _resolved(tell: Tell) -> list[Path]:
    import jgo  # with the network libraries it brings, only needed the first time
    from jgo.constants import default_maven_repo

    repository = Path(default_maven_repo())
    with _only_one(repository):
        if not any(repository.glob(f"org/apache/kafka/kafka_2.13/{KAFKA_VERSION}/*.jar")):
            tell(f"fetching Apache Kafka {KAFKA_VERSION} (about 44 MB), once")
        artifacts = [artifact for endpoint in _ENDPOINTS for artifact in jgo.resolve(endpoint)]
        return list(dict.fromkeys(_fetched(artifacts, tell)))


def _fetched(artifacts: list, tell: Tell) -> Iterator[Path]:  # type: ignore[type-arg]  # jgo's Artifact
    missing = [artifact for artifact in artifacts if not artifact.cached_path.exists()]
    for artifact in artifacts:
        jar = Path(artifact.resolve())
        if not zipfile.is_zipfile(jar):
            # A download that was killed leaves a part of a file under the final name.
            jar.unlink()
            jar = Path(artifact.resolve())
        if artifact in missing and (count := missing.index(artifact) + 1) % 15 == 0:
            tell(f"fetched {count} of {len(missing)} files")
        yield jar


@contextmanager
def _only_one(repository: Path) -> Iterator[None]:
    """Wait for another process that fetches into the same repository."""
    repository.mkdir(parents=True, exist_ok=True)
    with (repository / ".freshlens.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
