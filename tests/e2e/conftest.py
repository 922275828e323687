"""A real browser before the real product: ``freshlens up`` in a directory of its own, and Debian's Chromium.

``FRESHLENS_E2E_SERVER=fake`` puts the stand-in of ``fake_api.py`` in the product's place, for work on the page alone;
``FRESHLENS_E2E_SERVER=http://127.0.0.1:8080`` uses a product that runs already.
``FRESHLENS_CHROMIUM`` names the browser; without one the tests fail in CI (``CI=true``) and are skipped elsewhere.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, ElementHandle, Page, Request, sync_playwright

from tests.e2e.shop import Shop, stocked
from tests.running import Running

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "tests" / "output"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
STEP_TIMEOUT_MS = 15_000
WIDE = (1280, 900)
PHONE = (360, 780)
_SERVER = os.environ.get("FRESHLENS_E2E_SERVER", "")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

OpenPage = Callable[..., Page]
_PICTURES_ARE_THERE = """() => Promise.all([...document.images]
  .filter((each) => !each.complete && each.loading !== "lazy")
  .map((each) => each.decode().catch(() => {})))"""

# A photo named slow.jpg is not decoded before goOn(). `ended` counts those that were shrunk or turned out to be none.
SLOW_PHOTOS = """() => {
  const decode = createImageBitmap;
  const read = FileReader.prototype.readAsDataURL;
  const slow = new Promise((resolve) => { window.goOn = resolve; });
  window.ended = 0;
  const end = () => { window.ended += 1; };
  window.createImageBitmap = async (file, how) => {
    if (file.name === "slow.jpg") await slow;
    return decode(file, how).catch((error) => { end(); throw error; });
  };
  FileReader.prototype.readAsDataURL = function (blob) {
    this.addEventListener("loadend", end);
    read.call(this, blob);
  };
}"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
        if "product_url" in fixtures and not _SERVER:
            item.add_marker(pytest.mark.kafka)


@contextmanager
def server(command: list[str], log: Path) -> Iterator[str]:
    """A server that says ``search URL`` and ``ready``; yields the URL, and stops the server at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        yield _address(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        text = log.read_text()
        if re.search(r"^ready$", text, re.MULTILINE):
            found = re.search(r"^search (http://\S+)/$", text, re.MULTILINE)
            assert found, text
            return found[1]
        assert process.poll() is None, f"the server ended with {process.returncode}:\n{text}"
        time.sleep(0.1)
    raise AssertionError(f"not ready within {READY_TIMEOUT_S:.0f} s:\n{log.read_text()}")


@pytest.fixture(scope="session")
def fake_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The stand-in, for states of the page that the product shows only when something is wrong."""
    log = tmp_path_factory.mktemp("fake") / "log"
    with server([sys.executable, "-m", "tests.e2e.fake_api", "--port", "0", "--products", "36"], log) as url:
        yield url


@pytest.fixture
def demo(fake_url: str) -> str:
    """The page over the stand-in's drawn products."""
    return f"{fake_url}/?tenant=demo"


@pytest.fixture(scope="session")
def product_url(request: pytest.FixtureRequest) -> str:
    """The product itself."""
    if _SERVER:
        return str(request.getfixturevalue("fake_url")) if _SERVER == "fake" else _SERVER.rstrip("/")
    running: Running = request.getfixturevalue("running")
    return running.url


@pytest.fixture(scope="session")
def shop(product_url: str) -> Shop:
    """A tenant with drawn products, published through the API and searchable."""
    return stocked(product_url)


# For this package only: while Playwright's loop lives in this thread, no asynchronous test can run in it.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = os.environ.get("FRESHLENS_CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if executable is None:
        missing = f"no browser: set FRESHLENS_CHROMIUM or install one of {', '.join(_BROWSERS)}"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        yield chromium
        chromium.close()


class Watch:
    """What a page must never do: say an error on the console, raise, or ask another host."""

    def __init__(self, context: BrowserContext, host: str) -> None:
        self.complaints: list[str] = []
        self.expected: list[str] = []
        self._host = host
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._host, "blob:")):
            self.complaints.append(f"asked elsewhere: {request.url}")

    def check(self) -> None:
        unexpected = [each for each in self.complaints if not any(known in each for known in self.expected)]
        assert unexpected == []


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """``open_page(url, size=WIDE, theme="light", expected=())``: a page in a fresh context, watched for errors."""
    opened: list[tuple[BrowserContext, Watch]] = []

    def open_(
        url: str,
        size: tuple[int, int] = WIDE,
        theme: Literal["light", "dark"] = "light",
        expected: tuple[str, ...] = (),
    ) -> Page:
        is_phone = size[0] < 600
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme, is_mobile=is_phone, has_touch=is_phone,
            reduced_motion="reduce", locale="en-GB",
        )  # fmt: skip
        watch = Watch(context, re.match(r"https?://[^/]+", url)[0])  # type: ignore[index]
        watch.expected += expected
        opened.append((context, watch))
        page = context.new_page()
        page.set_default_timeout(STEP_TIMEOUT_MS)
        page.goto(url)
        return page

    yield open_
    for context, _ in opened:
        context.close()
    for _, watch in opened:
        watch.check()


@pytest.fixture
def snap() -> Callable[[Page, str], None]:
    """``snap(page, name)`` keeps a screenshot as test output."""
    OUTPUT.mkdir(parents=True, exist_ok=True)

    def snap_(page: Page, name: str) -> None:
        page.evaluate(_PICTURES_ARE_THERE)
        page.screenshot(path=OUTPUT / f"{name}.png")

    return snap_


def write(page: Page, words: str) -> None:
    """Search for words; does not wait for the answer."""
    page.fill("#text", words)
    page.press("#text", "Enter")


def wait(page: Page, holds: str, of: ElementHandle | None = None) -> None:
    """Until a function of the page holds, for 15 s at most, and what follows from it is drawn."""
    loop = f"for (let turns = 1500; !({holds})(of) && turns; turns -= 1) await pause(); await pause();"
    page.evaluate(f"async (of) => {{ const pause = () => new Promise((done) => setTimeout(done, 10)); {loop} }}", of)
