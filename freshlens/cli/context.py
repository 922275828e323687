"""What every command needs to know: the data directory, the tenant, and where a running Freshlens is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freshlens import lane_file, run_file
from freshlens.client import Client
from freshlens.run_file import RunFile
from schemas.environment import Environment
from schemas.errors import SettingsError
from schemas.lane import Lane
from topics.settings import KafkaSettings
from topics.store import ObjectStore, open_store

NOT_RUNNING = "nothing runs in {data}: start `freshlens up`{also}"


@dataclass(frozen=True)
class Context:
    """The options of the main command. Explicit flags and the environment win over discovery."""

    data: Path
    tenant: str
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def run(self) -> RunFile | None:
        """The ``up`` that runs in the data directory, if one does."""
        return run_file.read(self.data)

    def kafka(self) -> KafkaSettings:
        """How to reach Kafka; raises SettingsError when nothing says where it is."""
        run = self.run()
        if run is None and not self.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
            raise SettingsError(NOT_RUNNING.format(data=self.data, also=", or set KAFKA_BOOTSTRAP_SERVERS"))
        return KafkaSettings.from_env(self.environ, discovered=run.kafka if run else None)

    def store_url(self) -> str:
        return Environment({**self.environ, "FRESHLENS_DATA": str(self.data)}).store_url()

    def store(self) -> ObjectStore:
        """The object store of this data directory, or FRESHLENS_STORE."""
        return open_store(self.store_url(), {**self.environ, "FRESHLENS_DATA": str(self.data)})

    def url(self) -> str:
        """The address of the query API, without a slash at the end."""
        run = self.run()
        url = self.environ.get("FRESHLENS_URL") or (run.url if run else "")
        if not url:
            raise SettingsError(NOT_RUNNING.format(data=self.data, also=", or set FRESHLENS_URL"))
        return url.rstrip("/")

    def client(self) -> Client:
        """A client of the query API for this tenant; close it."""
        return Client(self.url(), tenant=self.tenant, api_key=self.environ.get("FRESHLENS_API_KEY"))

    def shell_environ(self) -> dict[str, str]:
        """The environment that ``serve`` would get here: what is set, completed by what the directory knows."""
        environ = dict(self.environ)
        environ.update(self.kafka().environment())
        environ.setdefault("FRESHLENS_DATA", str(self.data.resolve()))
        environ.setdefault("FRESHLENS_STORE", self.store_url())
        if (made_for := lane_file.read(self.data)) is not None:
            environ.setdefault("FRESHLENS_ENCODER", made_for.encoder)
            environ.setdefault("FRESHLENS_SPACE", made_for.space)
            environ.setdefault("FRESHLENS_PARTITIONS", str(made_for.partitions))
            environ.setdefault("FRESHLENS_SHARDS", str(made_for.shards))
        return environ

    def encoder(self) -> str:
        """FRESHLENS_ENCODER, or else what this data directory was made for."""
        made_for = lane_file.read(self.data)
        return self.environ.get("FRESHLENS_ENCODER") or (made_for.encoder if made_for else "bundled")

    def lane(self) -> Lane:
        """The lane of this data directory; raises SettingsError if neither it nor the environment names a space."""
        return Lane.from_env(self.shell_environ())
