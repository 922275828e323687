"""docs/states.md shows the tables as they are.

After a change of a table: ``python -m tests.docs.test_states`` draws the page anew.
"""

import re
from pathlib import Path

from index_nodes.states import GENERATION, NODE, diagram

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def drawn(page: str) -> str:
    """The page with each diagram between its markers drawn anew."""
    for name, lines in (("node", diagram(NODE)), ("generation", diagram(GENERATION))):
        block = f"<!-- {name} -->\n```mermaid\n{lines}\n```\n<!-- /{name} -->"
        page, found = re.subn(rf"<!-- {name} -->.*<!-- /{name} -->", block, page, flags=re.DOTALL)
        assert found == 1, name
    return page


def test_the_diagrams_are_what_the_tables_say() -> None:
    page = PAGE.read_text()
    assert drawn(page) == page, "run: python -m tests.docs.test_states"


def test_every_transition_is_drawn_once() -> None:
    for table in (NODE, GENERATION):
        arrows = [line for line in diagram(table).splitlines() if re.fullmatch(r"    \w+ --> \w+: [\w-]+", line)]
        assert len(set(arrows)) == len(arrows) == sum(map(len, table.values()))


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
