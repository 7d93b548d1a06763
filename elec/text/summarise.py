"""Long texts become tags: words and pairs of words of the text itself, picked by KeyBERT on the default encoder.

A tag is kept only if every word of it occurs in the text. Tags are cached by the text's content, so that a later run pays
for new texts only; a run that is killed keeps what it had.
"""

import hashlib
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.errors import InputError
from elec.llm.identity import llm_id
from elec.progress import Progress
from elec.spec import FieldSpec, Kind
from elec.spec.learning import LlmSpec, TextSpec
from elec.text.markup import MARKUP, strip_markup

# The encoder reads some 200 words; candidates from far behind them cost time and are about something it never saw.
_WORDS_READ = 400
_TEXTS_AT_ONCE = 32
_SECONDS_BETWEEN_WRITES = 20.0
# A change of how tags are made changes this, and with it the place of the cache.
_VERSION = 1
_ENCODER = LlmSpec(max_tokens=256)
_WORD = re.compile(r"\w+")


def long_texts(frames: Sequence[Path], fields: Sequence[FieldSpec], above: int) -> list[str]:
    """The distinct texts that cannot go into the template as they are: longer than the limit, or with markup in them.

    Args:
        frames: Parquet files with the fields.
        fields: All fields that the LLM reads.
        above: Words.
    """
    names = [field.name for field in fields if field.kind is Kind.TEXT]
    found: dict[str, None] = {}
    for frame in frames if names else ():
        for batch in pq.ParquetFile(frame).iter_batches(batch_size=65_536, columns=names):
            for name in names:
                texts = pc.unique(batch.column(name)).cast(pa.string()).drop_null()
                long = pc.greater(pc.count_substring_regex(texts, r"\S+"), above)
                chosen = texts.filter(pc.or_(long, pc.match_substring_regex(texts, MARKUP)))
                found.update(dict.fromkeys(chosen.to_pylist()))
    return sorted(found)


def summarise(texts: Sequence[str], settings: TextSpec, cache: Path | None) -> tuple[dict[str, str], int, int]:
    """Shortens texts: markup goes, and what is still long becomes tags.

    Args:
        texts: Distinct texts.
        settings: Above how many words a text becomes tags, and how many.
        cache: Folder of tags that were made before; None to make them all.

    Returns:
        What to write instead, by text; how many became tags; how many of those came from the cache.
    """
    plain = {text: strip_markup(text) for text in texts}
    long = sorted({words for words in plain.values() if len(words.split()) > settings.summarise_above})
    if not long:
        return plain, 0, 0
    store = TagCache(cache, settings.tags)
    known = store.read(long)
    new = [words for words in long if words not in known]
    if new:
        known |= _make_tags(new, settings, store)
    return {text: known.get(words, words) for text, words in plain.items()}, len(long), len(long) - len(new)


def is_grounded(tag: str, text: str) -> bool:
    """Whether every word of a tag occurs in the text."""
    return set(_WORD.findall(tag.lower())) <= set(_WORD.findall(text.lower()))


class TagCache:
    """Tags by the content of their text: Parquet files that are written once, each in one step.

    Args:
        folder: The cache; None for none.
        tags: How many tags a text has; other settings have a cache of their own.
    """

    def __init__(self, folder: Path | None, tags: int) -> None:
        self._folder = folder / f"keybert-{_VERSION}-{tags}-{llm_id(_ENCODER)}" if folder is not None else None

    def read(self, texts: Iterable[str]) -> dict[str, str]:
        """The tags that are known, by text."""
        if self._folder is None or not self._folder.is_dir():
            return {}
        known: dict[str, str] = {}
        for path in sorted(self._folder.glob("*.parquet")):
            try:
                table = pq.read_table(path, columns=["key", "tags"])
            except (pa.ArrowException, OSError) as error:
                raise InputError(
                    f"{path}: cached tags cannot be read ({error}); delete the file, and its tags are made again"
                ) from None
            known.update(zip(table["key"].to_pylist(), table["tags"].to_pylist(), strict=True))
        return {text: known[key] for text in texts if (key := _key(text)) in known}

    def write(self, tags: Mapping[str, str]) -> None:
        """Adds tags, by text."""
        if self._folder is None or not tags:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{uuid.uuid4().hex}.parquet"
        temporary = path.with_suffix(".tmp")
        pq.write_table(pa.table({"key": [_key(text) for text in tags], "tags": list(tags.values())}), temporary)
        temporary.replace(path)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _make_tags(texts: Sequence[str], settings: TextSpec, store: TagCache) -> dict[str, str]:
    keybert = _keybert()
    made: dict[str, str] = {}
    unsaved: dict[str, str] = {}
    saved = time.monotonic()
    with Progress("summarise long texts", unit="texts", total=len(texts)) as progress:
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            chunk = texts[start : start + _TEXTS_AT_ONCE]
            unsaved |= zip(chunk, _tags_of(keybert, chunk, settings.tags), strict=True)
            progress.advance(len(chunk))
            last = start + _TEXTS_AT_ONCE >= len(texts)
            if last or time.monotonic() - saved > _SECONDS_BETWEEN_WRITES:
                store.write(unsaved)
                made |= unsaved
                unsaved, saved = {}, time.monotonic()
    return made


def _tags_of(keybert: Any, texts: Sequence[str], count: int) -> list[str]:
    read = [" ".join(text.split()[:_WORDS_READ]) for text in texts]
    found = keybert.extract_keywords(
        read, keyphrase_ngram_range=(1, 2), stop_words="english", use_mmr=True, diversity=0.5, top_n=count
    )
    if len(read) == 1:
        found = [found]
    # KeyBERT answers with nothing at all when no text of the chunk has a word that counts.
    found = found or [[]] * len(read)
    tags = [[tag for tag, _ in pairs if is_grounded(tag, text)] for pairs, text in zip(found, read, strict=True)]
    # Without a tag, the text's beginning is what is known of it.
    return [", ".join(chosen) or " ".join(text.split()[:count]) for chosen, text in zip(tags, read, strict=True)]


def _keybert() -> Any:
    """KeyBERT on the default encoder."""
    from keybert import KeyBERT
    from keybert.backend import BaseEmbedder

    from elec.llm.encoder import Encoder

    encoder = Encoder.load(_ENCODER)

    class Embedder(BaseEmbedder):  # type: ignore[misc, unused-ignore]
        def embed(self, documents: Sequence[str], verbose: bool = False) -> np.ndarray:
            del verbose
            return encoder.encode([str(document) for document in documents])

    return KeyBERT(model=Embedder())
