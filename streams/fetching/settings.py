"""From where pictures may be fetched, read once from the environment."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from processors.fetching.addresses import Network
from processors.fetching.policy import FetchPolicy
from schemas.environment import Environment

_MB = 1024 * 1024


def read_fetch_policy(environ: Mapping[str, str]) -> FetchPolicy:
    """Read FRESHLENS_FETCH_*, and AWS_ENDPOINT_URL as AWS's own programs do.

    Raises:
        SettingsError: listing everything that is wrong.
    """
    env = Environment(environ)
    roots = [root for root in env.text("FRESHLENS_FETCH_ROOTS").split(":") if root]
    env.problems += [f"FRESHLENS_FETCH_ROOTS: no such folder: {root}" for root in roots if not Path(root).is_dir()]
    networks, hosts = _allowed(env)
    endpoint = env.text("AWS_ENDPOINT_URL_S3") or env.text("AWS_ENDPOINT_URL")
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        env.problems.append(f"AWS_ENDPOINT_URL={endpoint!r} must be http://HOST:PORT or https://HOST")
    policy = FetchPolicy(
        roots=tuple(Path(root).resolve() for root in roots),
        private_allowed=env.text("FRESHLENS_FETCH_PRIVATE") == "1",
        networks=networks,
        hosts=hosts,
        buckets=frozenset(_listed(env, "FRESHLENS_FETCH_BUCKETS")),
        s3_endpoint=endpoint or None,
        image_bytes_max=env.integer("FRESHLENS_FETCH_MB_MAX", 16, 1, 1024) * _MB,
        per_host_max=env.integer("FRESHLENS_FETCH_PER_HOST_MAX", 16, 1, 1024),
    )
    env.finish()
    return policy


def _allowed(env: Environment) -> tuple[tuple[Network, ...], frozenset[str]]:
    networks, hosts = [], []
    for text in _listed(env, "FRESHLENS_FETCH_ALLOW"):
        if ":" not in text and not text.replace(".", "").replace("/", "").isdigit():
            hosts.append(text.lower().rstrip("."))
            continue
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            env.problems.append(f"FRESHLENS_FETCH_ALLOW: {error}; networks such as 10.1.0.0/16, and host names")
    return tuple(networks), frozenset(hosts)


def _listed(env: Environment, name: str) -> list[str]:
    return [text for text in (part.strip() for part in env.text(name).split(",")) if text]
