"""What a server's process does without, so that it starts fast."""

import subprocess
import sys
from pathlib import Path


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_server_ranks_without_pandas_feast_and_torch(made: Path, feast_folder: Path) -> None:
    program = f"""
import sys
from elec.serving.start import leave_pandas_out
leave_pandas_out()
import elec.serving.launch
from elec.serving.service import open_service
from elec.spec.serving import ServingSpec
service = open_service({str(made / "bundle")!r}, {str(feast_folder)!r}, ServingSpec())
ranked = service.ranker.rank("u5", ["i1", "i2", "never seen"], {{"hour": 7}})
assert len(ranked.scores_N) == 3 and ranked.unknown_items == 1
print(sorted({{"pandas", "feast", "torch", "duckdb", "evidently", "typer", "rich"}} & set(sys.modules)))
"""
    assert run(program) == "[]"


def test_pandas_that_is_there_already_stays(made: Path) -> None:
    program = """
import pandas
import pyarrow as pa
from elec.serving.start import leave_pandas_out
leave_pandas_out()
print(len(pa.table({"a": [1, 2]}).to_pandas()))
"""
    assert run(program) == "2"
