"""compose.yaml as far as a machine without a container engine can check it: its schema, its roles, its variables."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from freshlens.processes import ROLES, with_space
from index_nodes.settings import CompactorSettings, NodeSettings
from query_api.settings import ApiSettings, EncoderServiceSettings
from streams.settings import StreamsSettings

APART = [role for role in ROLES if role != "search"]
"""In containers the API and the node are apart, so that either can be multiplied."""

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "embed": StreamsSettings,
    "deletes": StreamsSettings,
    "feedback": StreamsSettings,
    "node": NodeSettings,
    "compactor": CompactorSettings,
    "encoder": EncoderServiceSettings,
    "api": ApiSettings,
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert isinstance(services, dict)
    return services


def test_the_file_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, "compose.yaml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_role_has_a_service_with_a_health_check(services: dict[str, Any]) -> None:
    assert set(services) == {"kafka", "topics", *APART}
    for role in APART:
        assert services[role]["command"] == ["serve", role]
        assert "test" in services[role]["healthcheck"], role
    assert "test" in services["kafka"]["healthcheck"]


@pytest.mark.parametrize("role", APART)
def test_every_role_accepts_its_environment(services: dict[str, Any], role: str) -> None:
    environ = {name: _resolved(str(value)) for name, value in services[role]["environment"].items()}
    SETTINGS[role].from_env(with_space({"FRESHLENS_DATA": "/data", **environ}))


def test_no_two_services_listen_on_one_port(services: dict[str, Any]) -> None:
    ports = [
        value
        for service in services.values()
        for name, value in service["environment"].items()
        if name.startswith("FRESHLENS_") and name.endswith("PORT")
    ]
    assert len(ports) == len(set(ports))


def _resolved(value: str) -> str:
    """``${NAME:-default}`` as compose resolves it without the variable."""
    return value.split(":-", 1)[1].rstrip("}") if value.startswith("${") else value
