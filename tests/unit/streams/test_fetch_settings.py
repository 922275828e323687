"""From where pictures may be fetched."""

import ipaddress
from pathlib import Path

import pytest

from processors.fetching.policy import FetchPolicy
from schemas.errors import SettingsError
from streams.fetching.settings import read_fetch_policy


def test_nothing_is_allowed_unless_it_is_said() -> None:
    assert read_fetch_policy({}) == FetchPolicy()


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    assert read_fetch_policy(
        {
            "FRESHLENS_FETCH_ROOTS": f"{tmp_path}:",
            "FRESHLENS_FETCH_PRIVATE": "1",
            "FRESHLENS_FETCH_ALLOW": "10.1.0.0/16, fd00:1::/32,192.168.0.7,Images.Shop.internal.,nas,",
            "FRESHLENS_FETCH_BUCKETS": "shop-pictures, other",
            "FRESHLENS_FETCH_MB_MAX": "2",
            "FRESHLENS_FETCH_PER_HOST_MAX": "4",
            "AWS_ENDPOINT_URL": "http://minio:9000",
        }
    ) == FetchPolicy(
        roots=(tmp_path.resolve(),),
        private_allowed=True,
        networks=tuple(map(ipaddress.ip_network, ("10.1.0.0/16", "fd00:1::/32", "192.168.0.7/32"))),
        hosts=frozenset({"images.shop.internal", "nas"}),
        buckets=frozenset({"shop-pictures", "other"}),
        s3_endpoint="http://minio:9000",
        image_bytes_max=2 * 1024 * 1024,
        per_host_max=4,
    )


def test_the_endpoint_of_s3_alone_goes_before_that_of_all_services() -> None:
    both = {"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_S3": "http://s3:1"}
    assert read_fetch_policy(both).s3_endpoint == "http://s3:1"


def test_all_problems_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        read_fetch_policy(
            {
                "FRESHLENS_FETCH_ROOTS": "/no/such/folder",
                "FRESHLENS_FETCH_ALLOW": "10.1.0.1/16,1.2.3,::g",
                "FRESHLENS_FETCH_MB_MAX": "0",
                "FRESHLENS_FETCH_PER_HOST_MAX": "x",
                "AWS_ENDPOINT_URL": "minio:9000",
            }
        )
    said = refused.value.problems
    for part in ("ROOTS", "10.1.0.1/16", "1.2.3", "::g", "MB_MAX", "PER_HOST_MAX", "AWS_ENDPOINT_URL"):
        assert sum(part in problem for problem in said) == 1, (part, said)
