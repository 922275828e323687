"""Texts become the tokens that open_clip's own tokenizer makes of them."""

import open_clip
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processors.encoders.tokens import COUNTED_MAX, ClipTokenizer

CONTEXT = 32
# Letters that Unicode has had for long: both sides know newer ones, but not all of the same.
LETTERS = st.characters(max_codepoint=0x2FF, exclude_categories=["Cs", "Cn"])
SYMBOLS = st.sampled_from("👗👠😀€¥№™…—“”’漢字かなカナहिन्दीقميصПлатьеΦόρεμα")
TEXTS = st.text(st.one_of(LETTERS, SYMBOLS), max_size=80)


@pytest.fixture(scope="module")
def ours() -> ClipTokenizer:
    return ClipTokenizer(CONTEXT)


@pytest.fixture(scope="module")
def theirs() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=CONTEXT)


@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
@example(texts=["a red dress", "", "don't I'LL we've", "Größe 42, &amp;lt;b&gt; naïve café", "x" * 500, "word " * 100])
@example(texts=["ﬁne Ünïcode schÃ¶n İstanbul ẞ", "³²½ Ⅷ a_b-c.d!!!?", "  a\t\nb\u00a0c\u2003d "])
def test_tokens_are_those_of_open_clip(
    ours: ClipTokenizer, theirs: open_clip.SimpleTokenizer, texts: list[str]
) -> None:
    assert ours(texts).tolist() == theirs(texts).tolist()
    assert [ours.count(text) for text in texts] == [min(COUNTED_MAX, len(theirs.encode(text)) + 2) for text in texts]


def test_the_count_ends_somewhere(ours: ClipTokenizer) -> None:
    assert ours.count("red dress " * 10_000) == COUNTED_MAX
