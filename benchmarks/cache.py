"""Where vectors are kept between benchmarks: big, and made again by whoever needs them."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """FRESHLENS_BENCH_CACHE, by default ``.work/bench`` of the checkout; made if it is not there."""
    default = Path(__file__).parent.parent / ".work" / "bench"
    folder = Path(os.environ.get("FRESHLENS_BENCH_CACHE") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
