"""The newest revision of each window, by tenant, bounded."""

from query_api.quality import QualityWindows
from schemas.feedback import SearchQuality


def row(
    start: int, revision: int = 1, *, tenant: str = "shop", arm: str = "default", searches: int = 1
) -> SearchQuality:
    return SearchQuality(tenant, arm, start, start + 60, revision, searches, 0, 0, 0, 0, 0, ())


def kept(*rows: SearchQuality, **bounds: int) -> QualityWindows:
    windows = QualityWindows(**bounds)
    for each in rows:
        windows.take(each)
    return windows


def test_the_greatest_revision_stays_whatever_the_order() -> None:
    full, partial = row(0, 5, searches=4), row(0, 2, searches=1)
    assert kept(full, partial).newest("shop", 9) == kept(partial, full).newest("shop", 9) == [full]


def test_newest_windows_first_then_arms_up_to_the_limit() -> None:
    windows = kept(row(0), row(60, arm="b"), row(60, arm="a"), row(120))
    assert [(each.window_start, each.arm) for each in windows.newest("shop", 3)] == [
        (120, "default"), (60, "a"), (60, "b"),
    ]  # fmt: skip


def test_tenants_are_apart() -> None:
    windows = kept(row(0), row(0, tenant="other"))
    assert [each.tenant for each in windows.newest("other", 9)] == ["other"]
    assert windows.newest("nobody", 9) == []


def test_old_windows_and_silent_tenants_go_first() -> None:
    windows = kept(*(row(at * 60) for at in range(5)), windows_max=3)
    assert [each.window_start for each in windows.newest("shop", 9)] == [240, 180, 120]
    tenants = kept(row(0, tenant="a"), row(0, tenant="b"), row(1, tenant="a"), row(0, tenant="c"), tenants_max=2)
    assert [bool(tenants.newest(tenant, 9)) for tenant in "abc"] == [True, False, True]
