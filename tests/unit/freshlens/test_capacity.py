"""The calculator: sums that can be checked by hand, directions that must hold, and limits in order."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from freshlens import capacity
from freshlens.capacity import GIB, Ask, Measured, Prices
from freshlens.cli import cli

FIGURES = Measured(
    dim=256,
    rows_max=1_000_000,
    recall_at_10=0.96,
    search_ms=1.0,
    search_ms_per_million_rows=2.0,
    anonymous_bytes_per_row=100.0,
    column_bytes_per_row=500.0,
    compactor_bytes_per_row=1000.0,
    compacted_rows_per_s=1000.0,
    apply_ms=0.6,
    open_s_per_million_rows=1.0,
)
ASK = Ask(products=10e6, views=1.0, dim=256, qps=600, events_per_s=1000, replicas=2, shard_rows=5e6)


def test_a_plan_is_the_sum_of_its_parts() -> None:
    plan = capacity.plan(ASK, Prices(1.0, 0.0, 0.0), FIGURES)
    assert (plan.shards, plan.rows_per_shard) == (2, 5e6)
    assert plan.search_ms == pytest.approx(1 + 2 * 5)
    assert plan.search_cores == pytest.approx(2 * 0.011 * 600 / 0.6)
    assert plan.apply_cores == pytest.approx(2 * 1000 * 0.0006 / 0.6)
    assert plan.compaction_h == pytest.approx(5000 / 3600)
    assert plan.compaction_cores == pytest.approx(2 * 5000 / 86_400)
    assert plan.cores == 25  # 22 + 2 + 0.1, and never a part of a core
    assert plan.cost_per_hour == 25
    assert plan.cost_per_1000_queries == pytest.approx(25 / (600 * 3600) * 1000)
    assert plan.extrapolated == 5


def test_memory_and_disk_by_the_row() -> None:
    plan = capacity.plan(ASK, Prices(0.0, 1.0, 0.0), FIGURES)
    rows = 5e6 * (100 + 32 + 8 + 512)
    delta = 50_000 * (6 * 256 + 500)
    assert plan.ram_gib_per_node == pytest.approx((rows + delta) / GIB)
    assert plan.ram_gib == pytest.approx(4 * plan.ram_gib_per_node)
    assert plan.disk_gib == pytest.approx(4 * 3 * 5e6 * (512 + 32 + 8 + 500) / GIB)
    assert plan.cost_per_hour == pytest.approx(plan.ram_gib)


def test_every_node_has_a_core() -> None:
    idle = replace(ASK, qps=0.001, events_per_s=0.0, shard_rows=1e6)
    assert capacity.plan(idle, figures=FIGURES).cores == 20


def test_limits_come_in_the_order_in_which_they_break() -> None:
    found = {limit.what: limit.rows for limit in capacity.limits(ASK, FIGURES)}
    assert list(found.values()) == sorted(found.values())
    assert found["time of a search"] == pytest.approx(12e6)
    assert found["time of a compaction"] == pytest.approx(21.6e6)
    assert found["time of a restart"] == pytest.approx(120e6)
    assert found["memory of the compactor"] == pytest.approx(256 * GIB / 1000)


def test_without_a_size_a_shard_is_as_large_as_the_first_limit_allows() -> None:
    plan = capacity.plan(replace(ASK, products=100e6, shard_rows=None), figures=FIGURES)
    assert plan.limit.what == "time of a search"
    assert plan.rows_per_shard <= plan.limit.rows
    assert plan.shards == 9
    assert plan.search_ms <= 25


def test_a_search_that_is_too_slow_at_any_size_still_gets_shards() -> None:
    slow = replace(ASK, products=1000, dim=4096, search_ms_max=0.5, shard_rows=None)
    assert capacity.limits(slow, FIGURES)[0].rows == 1


def test_levers_save_and_are_ordered_by_cost() -> None:
    now = capacity.plan(ASK, figures=FIGURES)
    levers = capacity.levers(ASK, figures=FIGURES)
    costs = [lever.plan.cost_per_hour for lever in levers]
    assert costs == sorted(costs)
    assert all(cost < now.cost_per_hour for cost in costs)
    assert "one view per product" not in [lever.what for lever in levers]  # there is one already


def test_the_log_of_a_day() -> None:
    assert capacity.log_gib_per_day(replace(ASK, events_per_s=1.0)) == pytest.approx(86_400 * 912 / GIB)


def test_the_command_prints_a_plan_and_what_changes_it() -> None:
    done = CliRunner().invoke(cli, ["plan", "--products", "1e9"])
    assert done.exit_code == 0, done.output
    for word in (
        "1,200,000,000 vectors",
        "shards",
        "memory",
        "per 1,000 queries",
        "half the dimensions",
        "times as large",
    ):
        assert word in " ".join(done.output.split()), word


def test_the_command_gives_json() -> None:
    done = CliRunner().invoke(cli, ["plan", "--products", "2e6", "--qps", "100", "--json"])
    answer = json.loads(done.output)
    assert answer["ask"]["products"] == 2e6
    assert answer["plan"]["shards"] >= 1
    assert answer["cores"] >= answer["plan"]["shards"] * 2


def test_no_products_is_wrong_usage() -> None:
    assert CliRunner().invoke(cli, ["plan", "--products", "0"]).exit_code == 2
    assert CliRunner().invoke(cli, ["plan", "--products", "1e400"]).exit_code == 2
