import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from elec.commands.bundles import bundle_of, feast_of
from elec.errors import InputError
from elec.runs.workspace import Workspace
from elec.serving.publish import publish_bundle

SERVE = "import typer; from elec.commands.serve import serve; app = typer.Typer(); app.command()(serve); app()"


def test_the_champion_is_what_is_meant(made: Path, tmp_path: Path) -> None:
    assert bundle_of("s3://elec/b", str(tmp_path)) == "s3://elec/b"
    with pytest.raises(InputError, match="no model is in service there yet; run `elec run` first"):
        bundle_of("", str(tmp_path))
    workspace = Workspace(str(tmp_path))
    uri = publish_bundle(made / "bundle", workspace)
    workspace.promote(Path(uri).name, "run-1")
    assert bundle_of("", str(tmp_path)) == uri


def test_feast_is_used_where_it_is(tmp_path: Path) -> None:
    assert feast_of(str(tmp_path)) == ""
    (tmp_path / "feast").mkdir()
    (tmp_path / "feast" / "registry.db").touch()
    assert feast_of(str(tmp_path)) == str(tmp_path / "feast")


def test_serve_answers_until_it_is_told_to_stop(made: Path, feast_folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    workspace.promote(Path(publish_bundle(made / "bundle", workspace)).name, "run-1")
    shutil.copytree(feast_folder, tmp_path / "feast")
    command = [sys.executable, "-c", SERVE, "--workspace", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            found = re.fullmatch(r"toy-\S+ on (http://127\.0\.0\.1:\d+) \(Ctrl-C stops it\)\n", said)
            assert found, said + process.stderr.read()
            answer = httpx.post(f"{found[1]}/rank", json={"user": "u1", "items": ["i1", "i2"]}, trust_env=False, timeout=30)
            assert answer.status_code == 200
            assert len(answer.json()["items"]) == 2
        finally:
            os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
