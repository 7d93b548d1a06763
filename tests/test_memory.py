"""Work on batches holds no more memory where there are more of them."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.features import order_statistics
from elec.features.order_statistics import SortedRuns
from elec.ingest.splice import Groups, SplicedWriter

_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, and asks glibc")


def resident(kind: str) -> int:
    """Bytes of this process that are in memory: `RssAnon` or `RssFile`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024


_ARENAS = """
import ctypes, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from elec.ingest.parallel import in_order

def arenas():
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(library.fopen(sys.argv[2].encode(), b"w"))
    assert library.malloc_info(0, stream) == 0
    library.fclose(stream)
    return Path(sys.argv[2]).read_text().count("<heap nr=")

def work(number):
    return [np.ones(5_000) for _ in range(50)][::10]

before = arenas()
if sys.argv[1] == "in_order":
    found = list(in_order(work, (number for number in range(20))))
else:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(work, range(20)))
print(arenas() - before)
"""


@_LINUX
@pytest.mark.parametrize(("way", "several"), [("in_order", False), ("threads", True)])
def test_threads_that_work_on_batches_share_arenas(way: str, several: bool, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ARENAS, way, str(tmp_path / "malloc.xml")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert (int(done.stdout) > 1) == several


@pytest.mark.parametrize(("asked", "found"), [(None, "system"), ("mimalloc", "mimalloc")])
def test_arrow_takes_memory_where_numpy_does_unless_told_otherwise(asked: str | None, found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    environment |= {"ARROW_DEFAULT_MEMORY_POOL": asked} if asked else {}
    code = "from elec.ingest import ingest; import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == found


@_LINUX
def test_a_walk_over_numbers_on_disk_lets_go_of_their_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_statistics, "_MAPPED_BYTES", 1 << 20)
    numbers = np.arange(32_768, dtype=np.float64)  # 512 kB a run with its counts
    with SortedRuns() as runs:
        for number in range(128):
            runs.add("n", numbers + number, np.ones(len(numbers), np.int64))
        before = resident("RssFile")
        sizes = [resident("RssFile") for values, upto in runs.of("n").runs if values.sum() > 0 and upto[-1] == len(numbers)]
        assert len(sizes) == 128
        assert max(sizes) < before + (1 << 20) + (4 << 20), "the file has 64 MB"
        assert runs.of("n").quantiles([0.5])[0] == 16_447


def test_of_a_row_group_that_was_written_little_is_held(tmp_path: Path) -> None:
    rows = pa.table({f"n{number}": np.arange(4) for number in range(12)})
    pq.write_table(rows, tmp_path / "one.parquet")
    with (tmp_path / "one.parquet").open("rb") as stream:
        groups = Groups(stream)
        writer = SplicedWriter(tmp_path / "all.parquet", rows.schema)
        writer.copy(groups, 0)
        tracemalloc.start()
        try:
            for _ in range(500):
                writer.copy(groups, 0)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        writer.close()
    assert held < 500 * 12 * 250, "as structs it would be ten times as much"
    assert pq.read_metadata(tmp_path / "all.parquet").num_rows == 4 * 501
