"""The command against a running product: publish, search, delete, and what they say when something is wrong."""

import json
from pathlib import Path
from typing import Any

from tests.running import Running
from tests.whole.photos import studio


def _write_catalogue(folder: Path, count: int, **more: Any) -> Path:
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(studio(number))
    lines = [{"product_id": f"c{n}", "title": f"number {n}", "image": f"{n}.jpg", **more} for n in range(count)]
    path = folder / "products.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_publish_waits_until_everything_is_searchable(running: Running, tmp_path: Path) -> None:
    listing = _write_catalogue(tmp_path, 6)
    done = running.freshlens("--tenant", "cli", "publish", str(listing), "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 searchable" in done.stdout
    assert "read token" in done.stdout
    found = running.freshlens("--tenant", "cli", "search", "--image", str(tmp_path / "2.jpg"), "-k", "3", "--json")
    answer = json.loads(found.stdout)
    assert answer["results"][0]["product_id"] == "c2"
    listed = running.freshlens("--tenant", "cli", "products", "list", "--json")
    assert {each["product_id"] for each in json.loads(listed.stdout)["products"]} == {f"c{n}" for n in range(6)}


def test_an_older_version_is_counted_as_ignored(running: Running, tmp_path: Path) -> None:
    newer = _write_catalogue(tmp_path, 2, version=1_790_000_000_000_002)
    assert "2 searchable" in running.freshlens("--tenant", "old", "publish", str(newer), "--wait").stdout
    older = _write_catalogue(tmp_path, 2, version=1_790_000_000_000_001)
    done = running.freshlens("--tenant", "old", "publish", str(older), "--wait")
    assert "2 ignored" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_what_is_wrong_is_named_by_line_and_code_and_the_rest_goes_through(running: Running, tmp_path: Path) -> None:
    listing = _write_catalogue(tmp_path, 1)
    (tmp_path / "broken.jpg").write_bytes(studio(0)[:200])
    with listing.open("a") as file:
        file.write('{"product_id": "no-view", "title": "only text"}\n{"product_id": "", "price": 1}\nnot json\n')
        file.write('{"product_id": "broken", "image": "broken.jpg"}\n')
    done = running.freshlens("--tenant", "wrong", "publish", str(listing), "--wait")
    assert done.returncode == 1
    assert "1 searchable" in done.stdout
    assert "4 rejected" in done.stdout
    for expected in ("content-without-view", "invalid-product-id", "line 4", "undecodable-image"):
        assert expected in done.stderr, done.stderr


def test_delete_waits_and_names_the_winner(running: Running, tmp_path: Path) -> None:
    listing = _write_catalogue(tmp_path, 2, version=1_790_000_000_000_005)
    running.freshlens("--tenant", "del", "publish", str(listing), "--wait")
    gone = running.freshlens("--tenant", "del", "delete", "c0", "--wait")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    kept = running.freshlens("--tenant", "del", "delete", "c1", "--version", "1790000000000004", "--wait")
    assert kept.returncode == 1
    assert "1790000000000005" in kept.stderr
    explained = running.freshlens("--tenant", "del", "why-not", "c0", "--image", str(tmp_path / "0.jpg"))
    assert "deleted" in explained.stdout


def test_a_tenant_with_products_of_microsecond_versions_is_not_declared_to_number_them(
    running: Running, tmp_path: Path
) -> None:
    done = running.freshlens("--tenant", "late", "publish", str(_write_catalogue(tmp_path, 1)), "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    refused = running.freshlens("tenants", "set", "late", "--versions", "sequence")
    assert refused.returncode == 1
    assert "use a new tenant" in refused.stderr
    assert "late" not in running.freshlens("tenants", "list").stdout


def test_a_tenant_with_sequence_versions(running: Running, tmp_path: Path) -> None:
    assert running.freshlens("tenants", "set", "seq", "--versions", "sequence").returncode == 0
    done = running.freshlens("--tenant", "seq", "publish", str(_write_catalogue(tmp_path, 1, version=7)), "--wait")
    assert "1 searchable" in done.stdout, done.stdout + done.stderr
    missing = running.freshlens("--tenant", "seq", "publish", str(_write_catalogue(tmp_path, 1)), "--wait")
    assert missing.returncode == 1
    assert "version-missing" in missing.stderr


def test_status_doctor_and_a_second_up(running: Running) -> None:
    assert running.freshlens("doctor").returncode == 0, running.freshlens("doctor").stdout
    assert json.loads(running.freshlens("status", "--json").stdout)["nodes"]
    second = running.freshlens("up", "--port", "0", "--no-demo")
    assert second.returncode == 1
    assert "already-running" in second.stderr


def test_topics_are_as_declared(running: Running) -> None:
    verified = running.freshlens("topics", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
