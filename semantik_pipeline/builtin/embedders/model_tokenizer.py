"""A model's own tokenizer: counts tokens and cuts long texts into windows. Needs neither torch nor weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from semantik_pipeline.builtin.embedders.file_digest import file_digest
from semantik_pipeline.builtin.embedders.surrogates import without_surrogates
from semantik_pipeline.errors import PluginLoadError


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text that the model reads in one piece: ``ids`` with prompt and special tokens, ``text`` without.

    ``owner`` is the text's index. ``tokens`` is the number of the text's own tokens, the window's weight in an average.
    """

    owner: int
    text: str
    ids: list[int]
    tokens: int


class ModelTokenizer:
    """The tokenizer in a model's folder (``tokenizer.json``; transformers converts older formats)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _tokenizer(self):
        file = self._path / "tokenizer.json"
        tokenizer = _from_file(file) if file.is_file() else _converted(self._path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of special tokens, such as [CLS] and [SEP]."""
        return frozenset(id for id, token in self._tokenizer.get_added_tokens_decoder().items() if token.special)

    @property
    def special_count(self) -> int:
        """Number of special tokens around one text."""
        return self._tokenizer.num_special_tokens_to_add(False)

    @property
    def pair_special_count(self) -> int:
        """Number of special tokens around two texts that are read together."""
        return self._tokenizer.num_special_tokens_to_add(True)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Every token and its id."""
        return self._tokenizer.get_vocab()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        encodings = self._tokenizer.encode_batch_fast(
            [without_surrogates(text) for text in texts], add_special_tokens=False
        )
        return [len(encoding) for encoding in encodings]

    def pairs(self, query: str, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """Ids and token types of the query paired with each text, special tokens included and nothing truncated.

        Neither the query nor a text may contain lone surrogates.
        """
        encodings = self._tokenizer.encode_batch_fast([(query, text) for text in texts])
        return [(encoding.ids, encoding.type_ids) for encoding in encodings]

    def windows(self, texts: Sequence[str], prompt: str = "", limit: int | None = None) -> list[Window]:
        """Each text with its prompt as one window, or as several if it is longer than ``limit`` tokens in total.

        Nothing is cut off: the windows of a text follow one another from its first token to its last.
        """
        texts = [without_surrogates(text) for text in texts]
        overhead = self.special_count + (self.count([prompt])[0] if prompt else 0)
        encodings = self._tokenizer.encode_batch_fast([prompt + text for text in texts])
        windows: list[Window] = []
        for owner, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            if limit is None or len(encoding) <= limit:
                windows.append(Window(owner, text, encoding.ids, max(1, len(encoding) - overhead)))
            else:
                pieces = self.split(text, max(1, limit - overhead))
                windows.extend(self._window(owner, piece, prompt, overhead, limit) for piece in pieces)
        return windows

    def split(self, text: str, budget: int) -> list[str]:
        """Consecutive slices of the text that cover all its tokens and have at most ``budget`` tokens each."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= budget:
            return [text]
        starts = [offsets[i][0] for i in range(0, len(offsets), budget)]
        pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
        # A word that is cut in the middle may have more tokens than it had as a whole.
        smaller = budget - max(1, budget // 8)
        return [part for piece in pieces if piece for part in (self._fitting(piece, budget, smaller))]

    def _fitting(self, piece: str, budget: int, smaller: int) -> list[str]:
        fits = self.count([piece])[0] <= budget or smaller < 1 or len(piece) < 2
        return [piece] if fits else self.split(piece, smaller)

    def _window(self, owner: int, piece: str, prompt: str, overhead: int, limit: int) -> Window:
        ids = self._tokenizer.encode(prompt + piece).ids
        if len(ids) > limit:  # a single character has more tokens than the window: it can't be split further
            ids = [*ids[: limit - 1], ids[-1]]
        return Window(owner, piece, ids, max(1, len(ids) - overhead))

    def revision(self) -> str:
        """16 hex digits that change with the tokenizer."""
        for name in ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model", "vocab.json"):
            if (self._path / name).is_file():
                return file_digest(self._path / name)[:16]
        raise PluginLoadError(f"The model in {self._path} has no tokenizer file.", "Download the model again.")


def _from_file(file: Path):
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise PluginLoadError(f"The tokenizer {file} can't be read: {error}.", "Download the model again.") from error


def _converted(path: Path):
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        return tokenizer.backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise PluginLoadError(f"The model in {path} has no usable tokenizer: {error}.") from error
