"""Texts to positions through a mapped file: exact whatever the hashes do, and shared by the processes of a machine."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.errors import InputError
from elec.features.lookup import Lookup, one_array
from elec.features.lookup_hash import text_hash, text_hashes

#: So many that a few keys are looked up by their hashes.
OTHERS = [f"other {number}" for number in range(3000)]
TEXT = st.text(max_size=30) | st.text("ab\0é", max_size=9) | st.text("x", min_size=100, max_size=120)
WORD = 2**64


def expected(values: list[str | None], keys: list[str | None]) -> list[int]:
    return [values.index(key) if key is not None and key in values else -1 for key in keys]


@given(values=st.lists(TEXT, unique=True, max_size=20), keys=st.lists(st.none() | TEXT, max_size=20), cut=st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_finds_what_a_list_finds(values: list[str], keys: list[str | None], cut: int) -> None:
    asked = [*keys, *values, "other 7", "other"]
    for kind in (pa.string(), pa.large_string()):
        held = [*values, *(text for text in OTHERS if text not in values)]
        lookup = Lookup(pa.array(["before", *held], kind).slice(1))
        found = lookup.positions(pa.array(asked, pa.string()).slice(cut))
        assert found.dtype == np.int64
        assert found.tolist() == expected(held, asked[cut:])
        texts = [text for text in asked if text is not None]
        assert lookup.few_positions(texts) == expected(held, texts)
        assert [lookup.few_positions([text])[0] for text in texts] == expected(held, texts)


@pytest.mark.parametrize("count", range(1, 12))
def test_hashes_beyond_the_last_of_a_short_list(count: int) -> None:
    # Nothing of the list lies in the upper half of all hashes, so the last buckets lead behind its end.
    low = [f"{number}" for number in range(200) if text_hash(f"{number}".encode()) < WORD // 2][:count]
    high = [f"{number}" for number in range(200) if text_hash(f"{number}".encode()) >= WORD // 2]
    index = Lookup(pa.array(low))._index
    found = index.positions(pa.array(low), pa.array([*high, *low]))
    assert found.tolist() == [*[-1] * len(high), *range(count)]
    assert [index.position(pa.array(low), key) for key in (*high, *low)] == found.tolist()


@given(texts=st.lists(TEXT, min_size=1, max_size=12), cut=st.integers(0, 11))
@settings(max_examples=200, deadline=None)
def test_a_hash_depends_on_nothing_but_the_text(texts: list[str], cut: int) -> None:
    together = text_hashes(pa.array(texts))
    assert together.tolist() == [text_hashes(pa.array([text]))[0] for text in texts]
    assert together.tolist() == [text_hash(text.encode()) for text in texts]
    assert together[cut:].tolist() == text_hashes(pa.array(texts).slice(cut)).tolist()
    assert together.tolist() == text_hashes(pa.array(texts, pa.large_string())).tolist()
    assert len(set(texts)) == len(set(together.tolist()))


def test_the_hashes_of_written_files_stay_what_they_are() -> None:
    texts = ["", "1", "user_00000017", "eight by", "Ångström, a longer text of several words"]
    assert [f"{found:016x}" for found in text_hashes(pa.array(texts))] == [
        "413e9fe535492c16",
        "e3dc69169b011a86",
        "46933106bbb03db6",
        "8e81308d8bfed285",
        "2b640e890bcc63ff",
    ]


def test_hashes_are_spread_evenly() -> None:
    for texts in (
        [str(number) for number in range(100_000)],
        [f"user_{number:08d}" for number in range(100_000)],
        [f"{number:x}" * 3 for number in range(100_000)],
    ):
        hashes = text_hashes(pa.array(texts))
        assert len(np.unique(hashes)) == len(texts)
        for shift in (0, 24, 48, 56):
            held = np.bincount(((hashes >> np.uint64(shift)) & np.uint64(255)).astype(np.int64), minlength=256)
            # Chi squared of 255 degrees of freedom: mean 255, standard deviation 22.6.
            assert ((held - held.mean()) ** 2 / held.mean()).sum() < 255 + 6 * 22.6


def test_texts_of_one_hash_are_told_apart(tmp_path: Path) -> None:
    same = colliding(40)
    assert len(set(same)) == 40
    assert len(set(text_hashes(pa.array(same)).tolist())) == 1
    known, unknown = same[:30], same[30:]
    values = [*known[:10], *OTHERS, *known[10:]]
    Lookup(pa.array(values)).save(tmp_path / "v.arrow")
    for lookup in (Lookup(pa.array(values)), Lookup.open(tmp_path / "v.arrow")[0]):
        keys = [*unknown, *known, None, "other 5"]
        assert lookup.positions(pa.array(keys)).tolist() == expected(values, keys)
        assert [lookup.few_positions([key])[0] for key in keys[:-2]] == expected(values, keys[:-2])


def colliding(count: int) -> list[str]:
    """Texts of 16 bytes that have one hash: the first word is drawn, the second one solved for."""
    golden, first, second = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

    def mixed(word: int, place: int) -> int:
        word = ((word ^ word >> 32) + place * golden) * first % WORD
        return (word ^ word >> 29) * second % WORD

    def unmixed(word: int, place: int) -> int:
        word = word * pow(second, -1, WORD) % WORD
        word = word ^ word >> 29 ^ word >> 58
        word = (word * pow(first, -1, WORD) - place * golden) % WORD
        return word ^ word >> 32

    begin, end = (int.from_bytes(half, "little") for half in (b"user-000", b"00000001"))
    total = mixed(begin, 1) + mixed(end, 2)
    found = ["user-00000000001"]
    draw = np.random.default_rng(3)
    while len(found) < count:
        begin = int.from_bytes(draw.integers(33, 127, 8, dtype=np.uint8).tobytes(), "little")
        end = unmixed((total - mixed(begin, 1)) % WORD, 2)
        text = begin.to_bytes(8, "little") + end.to_bytes(8, "little")
        if text.isascii():
            found.append(text.decode())
    return found


def test_of_equal_texts_the_first_is_found_and_null_never() -> None:
    values = pa.array(["twice", None, *OTHERS, "twice", None])
    assert Lookup(values).positions(pa.array(["twice", None, "", "other 0"])).tolist() == [0, -1, -1, 2]
    assert Lookup(values).few_positions(["twice", "", "other 0"]) == [0, -1, 2]


@pytest.mark.parametrize("count", [0, 1, 5000])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_saved_and_opened(tmp_path: Path, count: int, kind: pa.DataType) -> None:
    values = pa.array([f"v{number}" for number in range(count)], kind)
    codes = pa.array([f"c{number % 3}" for number in range(count)]).dictionary_encode()
    Lookup(values).save(tmp_path / "a.arrow", {"code": codes})
    lookup, further = Lookup.open(tmp_path / "a.arrow")
    assert lookup.values.equals(values)
    assert further.schema.names == ["code"]
    assert further.column("code").to_pylist() == codes.to_pylist()
    keys = pa.array(["v0", "v4999", None, "v5000"])
    assert lookup.positions(keys).tolist() == Lookup(values).positions(keys).tolist()
    assert lookup.positions(keys.slice(0, 0)).tolist() == []
    # Equal content, equal bytes: wherever the values come from.
    lookup.save(tmp_path / "again.arrow", {"code": further.column("code")})
    assert (tmp_path / "again.arrow").read_bytes() == (tmp_path / "a.arrow").read_bytes()
    if count:
        part = pa.concat_arrays([pa.array(["x"], kind), values, pa.array([None, "y"], kind)]).slice(1, count)
        Lookup(part).save(tmp_path / "part.arrow", {"code": codes})
        assert (tmp_path / "part.arrow").read_bytes() == (tmp_path / "a.arrow").read_bytes()


def test_a_large_batch_is_looked_up_in_parts() -> None:
    values = pa.array([f"v{number}" for number in range(700_000)])
    lookup = Lookup(values)
    row = np.random.default_rng(0).integers(0, 700_000, 150_000)
    assert (lookup.positions(values.take(pa.array(row))) == row).all()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: lookup.positions(values.take(pa.array(part))), np.split(row[:4000], 40)))
    assert (np.concatenate(found) == row[:4000]).all()


def test_whoever_has_a_file_mapped_keeps_it_when_it_is_replaced(tmp_path: Path) -> None:
    Lookup(pa.array([*OTHERS, "old"])).save(tmp_path / "v.arrow")
    lookup, _ = Lookup.open(tmp_path / "v.arrow")
    Lookup(pa.array(["new"])).save(tmp_path / "v.arrow")
    assert lookup.positions(pa.array(["old", "new"])).tolist() == [3000, -1]
    assert Lookup.open(tmp_path / "v.arrow")[0].values.to_pylist() == ["new"]


def written(path: Path, table: pa.Table, rows_a_batch: int = 1000) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_a_batch)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.arrow"

    def refused(why: str) -> None:
        with pytest.raises(InputError, match=rf"v\.arrow: cannot be read as a vocabulary \(.*{why}") as error:
            Lookup.open(path)
        assert "\n" not in str(error.value)

    refused("No such file")
    path.write_bytes(b"")
    refused("")
    path.write_bytes(b"ARROW1 and then nothing of the kind")
    refused("")
    Lookup(pa.array(["a", "b"])).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused("")
    path.write_bytes(content)
    table = pa.ipc.open_file(path).read_all()
    written(path, table.replace_schema_metadata({"elec.lookup": "2"}))
    refused("another version")
    written(path, table.drop_columns(["hash"]))
    refused("its columns are not value, hash, position, bucket")
    written(path, table.set_column(1, "hash", pa.array([1, 2], pa.int64())))
    refused("its columns are not")
    written(path, table.set_column(0, "value", pa.array([1, 2])))
    refused("its texts are int64")
    written(path, table, rows_a_batch=1)
    refused("2 record batches")


def test_texts_in_chunks_become_one_array() -> None:
    chunks = pa.chunked_array([["a", None], ["b"]])
    assert one_array(chunks).equals(pa.array(["a", None, "b"]))
    assert one_array(chunks.cast(pa.large_string())).type == pa.string()
    assert one_array(pa.array(["a"]).dictionary_encode()).equals(pa.array(["a"]))
    assert one_array(pa.chunked_array([], pa.string())).equals(pa.array([], pa.string()))


READER = """
import sys
import pyarrow as pa
from pathlib import Path
from elec.features.vocabulary import Vocabulary

def anonymous():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous"))

Vocabulary(pa.array([f"v{n}" for n in range(3000)])).ids(pa.array(["v1"]))
before = anonymous()
vocabulary = Vocabulary.load(Path(sys.argv[1]), int(sys.argv[2]) + 3)
found = vocabulary.ids(pa.array([f"item {n}" for n in range(0, 500_000, 5_000)] + ["nothing"])).tolist()
assert found == [*range(3, 500_003, 5_000), 2], found
print(anonymous() - before)
"""


def test_a_process_has_no_memory_of_its_own_for_a_vocabulary(tmp_path: Path) -> None:
    values = pa.array([f"item {number}" for number in range(500_000)])
    Lookup(values).save(tmp_path / "item.arrow")
    assert (tmp_path / "item.arrow").stat().st_size > 14e6
    command = [sys.executable, "-c", READER, str(tmp_path / "item.arrow"), "500000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1024, "KiB; the values alone take 9 MB"
