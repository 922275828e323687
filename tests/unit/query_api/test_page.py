"""The search page as files: nothing inline, nothing from elsewhere, nothing missing, nothing unnamed."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "query_api" / "page"
DOCUMENTS = sorted(PAGE.glob("*.html"))
SCRIPTS = sorted(PAGE.glob("*.js"))
STYLES = sorted(PAGE.glob("*.css"))
DRAWINGS = sorted(PAGE.glob("*.svg"))
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
SCRIPT_LINES_MAX = 300
NEVER_CLOSED = {"meta", "link", "input", "img", "br", "circle", "path", "rect", "use", "line"}
NAMED_BY = {"aria-label", "aria-labelledby", "title", "placeholder"}


class Document(HTMLParser):
    """Every element with its attributes and the text within it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words: list[str] = []
        self.elements.append((tag, {name: value or "" for name, value in attrs}, words))
        if tag not in NEVER_CLOSED:
            self._open.append((tag, words))

    def handle_endtag(self, tag: str) -> None:
        if tag not in NEVER_CLOSED:
            opened = self._open.pop()[0]
            assert opened == tag, f"<{opened}> is closed by </{tag}>, line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        for _, words in self._open:
            words.append(data.strip())

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes, _ in self.elements if "id" in attributes]


def document(path: Path) -> Document:
    return Document(path.read_text())


def test_the_page_is_there() -> None:
    assert [path.name for path in DOCUMENTS] == ["analytics.html", "index.html"]
    assert len(SCRIPTS) > 10


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_have_no_inline_script_or_style(path: Path) -> None:
    for tag, attributes, words in document(path).elements:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")], (tag, attributes)
        assert not (tag == "script" and ("".join(words) or "src" not in attributes))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_forbid_what_is_inline_or_from_elsewhere(path: Path) -> None:
    metas = [attributes for tag, attributes, _ in document(path).elements if tag == "meta"]
    (policy,) = (meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"\*|https?:|data:", policy)


@pytest.mark.parametrize("path", DOCUMENTS + SCRIPTS + STYLES + DRAWINGS, ids=lambda path: path.name)
def test_nothing_is_loaded_from_elsewhere(path: Path) -> None:
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", path.read_text())
    assert [address for address in addresses if address != SVG_NAMESPACE] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_referenced_files_exist(path: Path) -> None:
    for tag, attributes, _ in document(path).elements:
        address = attributes.get("src") or (attributes.get("href", "") if tag in ("link", "use") else "")
        if address:
            name, _, symbol = address.removeprefix("/page/").partition("#")
            assert (PAGE / name).is_file(), address
            assert not symbol or f'id="{symbol}"' in (PAGE / name).read_text(), address


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_modules_import_names_that_exist(path: Path) -> None:
    for names, module in re.findall(r'import \{([^}]*)\} from "([^"]+)"', path.read_text()):
        assert module.startswith("./"), module
        source = (PAGE / module).read_text()
        for name in filter(None, (name.strip() for name in names.split(","))):
            assert re.search(rf"export (async )?(const|function|class) {name}\b", source), f"{name} of {module}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_imported_names_are_used(path: Path) -> None:
    text = path.read_text()
    for names, module in re.findall(r'import \{([^}]*)\} from "([^"]+)"', text):
        for name in filter(None, (name.strip() for name in names.split(","))):
            assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} of {module}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_never_turn_text_into_markup_or_code(path: Path) -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|console\.", path.read_text()
    )
    assert len(path.read_text().splitlines()) <= SCRIPT_LINES_MAX


def test_icons_that_scripts_name_exist() -> None:
    known = set(re.findall(r'<symbol id="([^"]+)"', (PAGE / "icons.svg").read_text()))
    text = "\n".join(path.read_text() for path in SCRIPTS)
    named = set(re.findall(r'(?:iconName: |\bicon\(|\bdraw(?:State)?\()"([^"]+)"', text))
    assert named
    assert named <= known


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_ids_are_unique_and_there_for_the_scripts(path: Path) -> None:
    ids = document(path).ids()
    assert len(ids) == len(set(ids))
    for attributes in (attributes for _, attributes, _ in document(path).elements):
        for name in ("for", "aria-labelledby", "aria-describedby", "list"):
            missing = set(attributes.get(name, "").split()) - set(ids) - {"drawer-title", "add-title"}
            assert not missing, (name, missing)


def test_every_id_that_a_script_asks_for_exists() -> None:
    ids = {each for path in DOCUMENTS for each in document(path).ids()}
    for path in SCRIPTS:
        asked = set(re.findall(r'(?:byId|getElementById)\("([^"]+)"\)', path.read_text()))
        assert asked <= ids, path.name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_control_has_a_name(path: Path) -> None:
    elements = document(path).elements
    labelled = {attributes["for"] for tag, attributes, _ in elements if tag == "label" and "for" in attributes}
    for tag, attributes, words in elements:
        if tag in ("button", "a", "select", "input"):
            is_named = "".join(words) or NAMED_BY & attributes.keys() or attributes.get("id") in labelled
            assert is_named, (tag, attributes)
        assert tag != "img" or "alt" in attributes


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_suit_phones_and_readers(path: Path) -> None:
    elements = document(path).elements
    assert ("html", {"lang": "en"}) in [(tag, attributes) for tag, attributes, _ in elements]
    (viewport,) = (attributes["content"] for _, attributes, _ in elements if attributes.get("name") == "viewport")
    assert "user-scalable=no" not in viewport
    assert [attributes for _, attributes, _ in elements if attributes.get("aria-live") == "polite"]


def test_motion_and_both_themes_are_considered() -> None:
    style = (PAGE / "style.css").read_text()
    assert "prefers-reduced-motion: reduce" in style
    assert "color-scheme: light dark" in style
    for path in STYLES:
        assert "var(--" in path.read_text()
        undefined = set(re.findall(r"var\((--[\w-]+)\)", path.read_text())) - set(
            re.findall(r"(--[\w-]+):", "".join(each.read_text() for each in STYLES))
        )
        assert undefined <= {"--x", "--y", "--w", "--h", "--i"}, path.name
