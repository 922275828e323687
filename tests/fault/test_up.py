"""What ``freshlens up`` starts, and that none of it stays behind when its terminal or the launcher itself goes."""

import json
import random
import signal
from pathlib import Path

import aiohttp
import psutil
import pytest

from freshlens import run_file
from freshlens.broker import end_process
from tests.running import Running

DIMENSION = 8

pytestmark = pytest.mark.timeout(300)


def test_the_broker_of_a_killed_up_is_told_of_by_doctor_and_ended_by_stop(tmp_path: Path) -> None:
    with Running(tmp_path, FRESHLENS_ENCODER=f"none:{DIMENSION}") as running:
        broker = psutil.Process(running.run.processes["kafka"])
        running.kill()
        try:
            assert broker.is_running()
            found = running.freshlens("doctor")
            assert found.returncode == 1
            assert f"WRONG running: only the broker that a killed `up` left (process {broker.pid})" in found.stdout
            stopped = running.freshlens("stop")
            assert (stopped.returncode, f"process {broker.pid}" in stopped.stdout) == (0, True)
            assert not broker.is_running()
            assert "nothing runs in" in running.freshlens("stop").stdout
        finally:
            end_process(broker)


async def test_every_shard_has_a_node_and_a_terminal_that_is_closed_takes_every_process_with_it(tmp_path: Path) -> None:
    made = random.Random(7)
    products = [
        {"product_id": f"p{n}", "title": f"{n}", "vector": [made.gauss(0, 1) for _ in range(DIMENSION)]}
        for n in range(60)
    ]
    with Running(tmp_path, FRESHLENS_ENCODER=f"none:{DIMENSION}", FRESHLENS_SHARDS="3") as running:
        assert {"node-0", "node-1", "node-2", "api"} <= set(running.run.processes)
        async with aiohttp.ClientSession() as session, session.get(f"{running.url}/readyz") as response:
            assert response.status == 200
        async with running.client() as client:
            token = (await client.publish(products)).read_token
            answer = await client.search(vector=products[0]["vector"], k=100, min_offset=token, wait_ms=30_000)
            assert {result.product_id for result in answer.results} == {product["product_id"] for product in products}
        nodes = json.loads(running.freshlens("status", "--json").stdout)["nodes"]
        assert sorted((node["shard"], node["replica"], node["products"] > 0) for node in nodes) == [
            (shard, 0, True) for shard in range(3)
        ]
        assert running.freshlens("doctor").returncode == 0

        assert "kafka" in running.run.processes
        processes = [psutil.Process(pid) for pid in running.run.processes.values()]
        assert running.stop(signal.SIGHUP) == 0
        left = [process for process in processes if process.is_running()]
        for process in left:
            process.kill()
        assert left == []
        assert run_file.read(tmp_path) is None
