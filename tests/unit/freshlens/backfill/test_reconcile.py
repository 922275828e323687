"""What --reconcile deletes, and what it never deletes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshlens.backfill.reconcile import DumpProducts, Plan, plan
from schemas.errors import SettingsError

AS_OF = 100
names = st.sampled_from("abcdefgh")


@given(st.dictionaries(names, st.integers(0, 200)), st.sets(names))
def test_deleted_is_what_the_dump_lacks_and_did_not_change_after_it(indexed: dict[str, int], dump: set[str]) -> None:
    found = plan(indexed.items(), DumpProducts(dump), AS_OF)
    assert set(found.delete) == {name for name, version in indexed.items() if name not in dump and version <= AS_OF}
    assert found.newer == sum(version > AS_OF for name, version in indexed.items() if name not in dump)
    assert found.visible == len(indexed)


def test_more_than_allowed_is_refused() -> None:
    found = Plan(tuple("abc"), visible=10, newer=0)
    found.check(0.3)
    with pytest.raises(SettingsError, match=r"3 of 10 products.*--allow 31"):
        found.check(0.2)
    Plan((), visible=0, newer=0).check(0.0)
