"""Texts as the tokens of CLIP's vocabulary: what open_clip's own tokenizer makes of them, without importing torch."""

import gzip
import html
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import ftfy
import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Steps

Tokens = npt.NDArray[np.int64]
"""(n, context) int64; behind the end of a text lie zeros."""

COUNTED_MAX = 4_096
_MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 48_894
"""Of the file's; with them the vocabulary has 49,408 entries."""
_BEGIN, _END, _END_OF_WORD = "<start_of_text>", "<end_of_text>", "</w>"
_WORDS = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_SHOWN = (range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100))
"""Bytes that stand for themselves in the vocabulary; the others stand behind, from 0x100 on."""


class ClipTokenizer:
    """The tokenizer of open_clip's models that name no other. ``context``: how many tokens the model sees.

    A letter that Unicode has had for a few years only, and a text that spells out the mark of its own beginning or end,
    may be cut in other places than there.
    """

    def __init__(self, context: int) -> None:
        self.context = context
        merges = _merges()
        alphabet = _alphabet()
        words = chain(alphabet, (each + _END_OF_WORD for each in alphabet), map("".join, merges), (_BEGIN, _END))
        vocabulary = {word: number for number, word in enumerate(words)}
        self._begin, self._end = vocabulary[_BEGIN], vocabulary[_END]
        self._pairs = Tokenizer(BPE(vocabulary, merges, end_of_word_suffix=_END_OF_WORD))
        into_words = Split(Regex(_WORDS), "removed", invert=True)
        self._pairs.pre_tokenizer = Steps([into_words, ByteLevel(add_prefix_space=False, use_regex=False)])

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """What the model sees of each text: with the marks of beginning and end, and cut where it is too long."""
        tokens = np.zeros((len(texts), self.context), np.int64)
        for row, text in zip(tokens, texts, strict=True):
            own = self._tokens(text)[: self.context]
            row[: len(own)] = own
            row[len(own) - 1] = self._end
        return tokens

    def count(self, text: str) -> int:
        """How many a text has, the marks included; at most COUNTED_MAX."""
        return min(COUNTED_MAX, len(self._tokens(text)))

    def _tokens(self, text: str) -> list[int]:
        return [self._begin, *self._pairs.encode(_cleaned(text), add_special_tokens=False).ids, self._end]


def _cleaned(text: str) -> str:
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def _merges() -> list[tuple[str, str]]:
    """The pairs that become one, in order, from open_clip's own file."""
    spec = find_spec("open_clip")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / _MERGES_FILE
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : _MERGES + 1]
    return [(first, second) for first, second in map(str.split, lines)]


def _alphabet() -> list[str]:
    """A character for each byte, in the vocabulary's order: those that can be shown come first."""
    shown = [chr(byte) for byte in chain(*_SHOWN)]
    return [*shown, *(chr(0x100 + place) for place in range(0x100 - len(shown)))]
