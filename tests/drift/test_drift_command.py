"""`elec drift` on a workspace with a champion and a prediction log."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from elec.drift import profile
from elec.errors import InputError
from elec.runs.workspace import Workspace
from elec.serving.manifest import MANIFEST, bundle_id
from elec.spec import Spec
from pipelines.cli import app
from tests.drift.test_predictions import Log
from tests.serving.described import AS_OF, describe


@pytest.fixture
def champion(make: Any, spec: Spec, tmp_path: Path) -> Any:
    """The champion's manifest; its workspace is `tmp_path/runs`."""
    dataset = spec.dataset
    manifest = describe(
        dataset=dataset.name,
        user=dataset.user,
        item=dataset.item,
        fields=dataset.tabular_fields,
        bundle_id=bundle_id(dataset.name, AS_OF, {}),
    )
    space = Workspace(str(tmp_path / "runs"))
    for place, name, content in (
        (space.bundle(manifest.bundle_id), MANIFEST, manifest.to_bytes()),
        (space.reference(manifest.bundle_id), "profile.json", profile(make(), dataset).model_dump_json().encode()),
    ):
        folder = Path(place)
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
    space.promote(manifest.bundle_id, "run-1")
    return manifest


def elec(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_predictions_like_those_of_training(champion: Any, tmp_path: Path) -> None:
    Log(tmp_path / "log")(champion)
    page = tmp_path / "drift.html"
    done = elec("drift", "--log", tmp_path / "log", "--workspace", tmp_path / "runs", "--page", page)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("ok:\nNothing has drifted")
    assert "No drift" in page.read_text()


def test_predictions_that_have_moved(champion: Any, tmp_path: Path) -> None:
    Log(tmp_path / "log")(champion, price=3.0)
    done = elec("drift", "--log", tmp_path / "log", "--workspace", tmp_path / "runs", "--json")
    assert done.exit_code == 1
    assert json.loads(done.output)["fields"]["price"]["verdict"] == "retrain"


def test_without_a_champion_or_its_reference(champion: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model is in service there yet"):
        raise elec("drift", "--log", tmp_path, "--workspace", tmp_path / "other").exception
    Path(Workspace(str(tmp_path / "runs")).reference(champion.bundle_id), "profile.json").unlink()
    with pytest.raises(InputError, match="no reference of the champion"):
        raise elec("drift", "--log", tmp_path, "--workspace", tmp_path / "runs").exception
