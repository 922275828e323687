"""A small shop for the browser tests: drawn products in a tenant of their own, and photos of them with known truth."""

import base64
import io
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from playwright.sync_api import FilePayload

from freshlens.catalogue import as_json, draw, product

TENANT = "browser-tests"
PRODUCTS = 36
SEARCHABLE_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Shop:
    """Where it is, and what it sells; ``lines`` by product number."""

    url: str
    lines: dict[int, dict[str, Any]] = field(repr=False)

    @property
    def page(self) -> str:
        return f"{self.url}/?tenant={TENANT}"

    def id_of(self, number: int) -> str:
        return str(self.lines[number]["product_id"])

    def title_of(self, number: int) -> str:
        return str(self.lines[number]["title"])

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the API for this shop's tenant; the decoded answer."""
        data = None if body is None else json.dumps(body).encode()
        address = f"{self.url}{path}{'&' if '?' in path else '?'}tenant={TENANT}"
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def warm_up(self) -> None:
        """Search by a photo until it is answered: the first after a start may outlast its time on a busy machine."""
        body = {"image": encoded(draw(product(0), 320)), "k": 1}
        deadline = time.monotonic() + SEARCHABLE_TIMEOUT_S
        while True:
            try:
                self.call("POST", "/v1/search", body)
                return
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def publish(self, lines: list[dict[str, Any]]) -> None:
        """Publish, and return when all of it is searchable."""
        token = self.call("POST", "/v1/products", lines)["read_token"]
        deadline = time.monotonic() + SEARCHABLE_TIMEOUT_S
        wanted = {line["product_id"] for line in lines}
        while time.monotonic() < deadline:
            self.call(
                "POST", "/v1/search", {"filter": {"in_stock": [True, False]}, "min_offset": token, "wait_ms": 1000}
            )
            if wanted <= {each["product_id"] for each in self.call("GET", "/v1/products?limit=200")["products"]}:
                return
        raise AssertionError(f"not searchable within {SEARCHABLE_TIMEOUT_S:.0f} s")


def stocked(url: str) -> Shop:
    """The shop with its products published."""
    lines = {
        number: {**as_json(product(number)), "image": encoded(draw(product(number), 320))} for number in range(PRODUCTS)
    }
    shop = Shop(url, lines)
    shop.publish(list(lines.values()))
    shop.warm_up()
    return shop


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def encoded(picture: Image.Image) -> dict[str, str]:
    """A picture as the API takes it inline."""
    return {"base64": base64.b64encode(jpeg(picture)).decode()}


def photo(number: int, size: int = 900) -> bytes:
    """A larger picture of a product than the catalogue has."""
    return jpeg(draw(product(number), 320).resize((size, size), Image.Resampling.BICUBIC))


def pair(left: int, right: int, size: int = 480) -> bytes:
    """Two products side by side in one photo."""
    canvas = Image.new("RGB", (2 * size, size))
    for at, number in enumerate((left, right)):
        canvas.paste(draw(product(number), 320).resize((size, size), Image.Resampling.BICUBIC), (at * size, 0))
    return jpeg(canvas)


def upload(raw: bytes, name: str = "photo.jpg") -> FilePayload:
    """A file for an <input type="file">."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": raw}
