"""Freed blocks of rows leave the process, whatever small things were allocated between them."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from index_nodes.replicas.memory import give_back_large_blocks

def anonymous_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous:"))

{call}
np.ones(1 << 22, np.uint8)
before, small = anonymous_kib(), []
for _ in range(3):
    blocks = []
    for _ in range(20):
        blocks.append(np.ones(1 << 22, np.uint8))
        small.append(np.ones(100_000, np.uint8))
    del blocks
print(anonymous_kib() - before - len(small) * 100)
"""


def _left_kib(call: str) -> int:
    script = SCRIPT.format(call=call)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of other C libraries nothing is asked")
def test_large_blocks_are_given_back_when_they_are_freed() -> None:
    assert _left_kib("give_back_large_blocks()") < 4_096 < _left_kib("")
