"""A 64-bit hash of texts, computed for a whole Arrow array at once from its bytes.

A text is read as little-endian words of eight bytes, the last one filled with zeros. Each word is mixed with its place, as
SplitMix64 mixes its counter (Steele, Lea, Flood, OOPSLA 2014); the sum and the length are mixed once more. It is no defence
against someone who seeks collisions: whoever uses it compares the texts themselves.
"""

from struct import unpack
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_ONE, _27, _29, _30, _31, _32 = (np.uint64(number) for number in (1, 27, 29, 30, 31, 32))
_GOLDEN_INT, _FIRST_INT, _SECOND_INT = (int(number) for number in (_GOLDEN, _FIRST, _SECOND))
_ALL = 2**64 - 1
# What is left of a word of which only the first 0 to 8 bytes are the text's.
_KEPT = np.array([(1 << (8 * size)) - 1 for size in range(9)], dtype=np.uint64)
# Bounds the memory for what lies between texts and hashes.
_ROWS = 1 << 18


def text_hashes(texts: pa.Array) -> Hashes:
    """The hashes of N texts, uint64 [N]; that of a null has no meaning.

    Args:
        texts: `string` or `large_string`.
    """
    if len(texts) > _ROWS:
        return np.concatenate([text_hashes(texts.slice(start, _ROWS)) for start in range(0, len(texts), _ROWS)])
    words, start_N, size_N, bytes_held = _words(texts)
    count_N = np.maximum((size_N + 7) >> 3, 1)
    if len(texts) == 0 or int(count_N.max()) == 1:
        hash_N = _mixed(words[start_N] & _KEPT[size_N], _GOLDEN)
    else:
        end_N = np.cumsum(count_N)
        first_N = end_N - count_N
        place_W = np.arange(end_N[-1]) - np.repeat(first_N, count_N)
        word_W = words[np.minimum(np.repeat(start_N, count_N) + 8 * place_W, bytes_held)]
        word_W[end_N - 1] &= _KEPT[size_N - 8 * (count_N - 1)]
        hash_N = np.add.reduceat(_mixed(word_W, (place_W.astype(np.uint64) + _ONE) * _GOLDEN), first_N)
    hash_N ^= size_N.astype(np.uint64) * _FIRST
    hash_N ^= hash_N >> _30
    hash_N *= _FIRST
    hash_N ^= hash_N >> _27
    hash_N *= _SECOND
    hash_N ^= hash_N >> _31
    return hash_N


def text_hash(text: bytes) -> int:
    """The hash of one text: what `text_hashes` gives, without what a call of numpy costs.

    Args:
        text: In UTF-8.
    """
    count = max((len(text) + 7) >> 3, 1)
    total = 0
    for place, word in enumerate(unpack(f"<{count}Q", text.ljust(8 * count, b"\0")), start=1):
        mixed = ((word ^ word >> 32) + place * _GOLDEN_INT) * _FIRST_INT & _ALL
        total += (mixed ^ mixed >> 29) * _SECOND_INT
    total = (total & _ALL) ^ (len(text) * _FIRST_INT & _ALL)
    total = (total ^ total >> 30) * _FIRST_INT & _ALL
    total = (total ^ total >> 27) * _SECOND_INT & _ALL
    return total ^ total >> 31


def _words(texts: pa.Array) -> tuple[Hashes, npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """The word that begins at each byte of the texts; where each text begins, its bytes, and those of all of them."""
    _, offsets, data = texts.buffers()
    width: Any = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    if offsets is None:
        offset_N = np.zeros(1, dtype=np.int64)
    else:
        begin = texts.offset * np.dtype(width).itemsize
        offset_N = np.frombuffer(offsets, dtype=width, count=len(texts) + 1, offset=begin).astype(np.int64)
    low, high = int(offset_N[0]), int(offset_N[-1])
    padded = np.zeros(high - low + 8, dtype=np.uint8)
    if high > low:
        padded[:-8] = np.frombuffer(data, dtype=np.uint8, count=high - low, offset=low)
    words: Hashes = np.ndarray((high - low + 1,), dtype="<u8", buffer=padded.data, strides=(1,))
    return words, offset_N[:-1] - low, np.diff(offset_N), high - low


def _mixed(word_W: Hashes, place_W: Hashes | np.uint64) -> Hashes:
    """Words, each stirred with its place."""
    mixed_W: Hashes = word_W ^ (word_W >> _32)
    mixed_W += place_W
    mixed_W *= _FIRST
    mixed_W ^= mixed_W >> _29
    mixed_W *= _SECOND
    return mixed_W
