"""What every process of ours does once it works."""

import atexit
import gc
from unittest import mock

from freshlens.processes import settled


def test_what_was_loaded_is_out_of_the_garbage_collectors_sight_before_a_process_is_ready() -> None:
    calls = mock.Mock()
    patched = mock.patch.multiple(gc, collect=calls.collect, freeze=calls.freeze, set_threshold=calls.set_threshold)
    with patched, mock.patch.object(atexit, "register") as at_exit:
        settled(calls.ready)()
    assert [name for name, *_ in calls.mock_calls] == ["collect", "freeze", "set_threshold", "ready"]
    young, *older = calls.set_threshold.call_args.args
    assert (young > 700, older) == (True, list(gc.get_threshold()[1:]))
    at_exit.assert_called_once_with(gc.unfreeze)  # or libraries would find at the end that everything has leaked
