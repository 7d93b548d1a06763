"""Publish, start, question, promote: and the champion stays whenever one of them fails."""

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from elec.deploy import LocalDeployment, deploy, smoke_test
from elec.errors import BlockedError, InputError
from elec.runs.workspace import Workspace
from elec.serving.bundle import Bundle, open_bundle
from elec.serving.start import open_features
from tests.serving.made import SPEC, variant


def with_other_scores(bundle: Path, folder: Path, scratch: Path) -> Path:
    """A bundle whose network does not give the scores of its training."""
    changed = Path(shutil.copytree(bundle, scratch))
    content = orjson.loads((changed / "golden.json").read_bytes())
    content["scores"][7] += 0.001
    (changed / "golden.json").write_bytes(orjson.dumps(content))
    variant(changed, folder)
    return folder


def test_a_good_bundle_becomes_champion(made: Path, feast_folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "runs"))
    report = deploy(SPEC, made / "bundle", workspace, "run-1", str(feast_folder))
    champion = workspace.champion()
    assert champion is not None
    assert (champion.bundle_id, champion.run_id, champion.previous) == (report.bundle_id, "run-1", None)
    assert report.bundle == workspace.bundle(report.bundle_id)
    assert report.smoke.golden == 64
    assert report.smoke.ranked > 10
    assert report.smoke.difference <= 1e-5
    assert (report.target, report.endpoint, report.previous) == ("local", None, None)
    assert orjson.loads(orjson.dumps(report.model_dump(mode="json")))["bundle_id"] == report.bundle_id


def test_a_failed_smoke_test_leaves_the_champion(made: Path, feast_folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "runs"))
    before = workspace.promote("toy-of-before", "run-1")
    wrong = with_other_scores(made / "bundle", tmp_path / "wrong", tmp_path / "scratch")
    with pytest.raises(BlockedError, match=r"/infer differ from training's by 0\.001"):
        deploy(SPEC, wrong, workspace, "run-2", str(feast_folder))
    assert workspace.champion() == before


def test_without_its_features_nothing_is_promoted(made: Path, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "runs"))
    with pytest.raises(InputError, match="no feature service"):
        deploy(SPEC, made / "bundle", workspace, "run-1")
    assert workspace.champion() is None


def test_the_champion_deployed_once_more_is_not_its_own_predecessor(
    made: Path, feast_folder: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is the one that runs for all tests of this file."""
    monkeypatch.setattr("elec.deploy.deployment.LocalDeployment", lambda *_: nullcontext(SimpleNamespace(url=url)))
    workspace = Workspace(str(tmp_path / "runs"))
    workspace.promote("toy-of-before", "run-0")
    first = deploy(SPEC, made / "bundle", workspace, "run-1", str(feast_folder))
    champion = workspace.champion()
    assert deploy(SPEC, made / "bundle", workspace, "run-2", str(feast_folder)).bundle == first.bundle
    assert workspace.champion() == champion
    assert first.previous == "toy-of-before"


@pytest.fixture
def bundle(made: Path) -> Bundle:
    return open_bundle(made / "bundle")


@pytest.fixture(scope="module")
def url(made: Path, feast_folder: Path) -> Iterator[str]:
    with LocalDeployment(str(made / "bundle"), str(feast_folder)) as server:
        yield server.url


def test_the_smoke_test_passes_and_needs_no_store_for_infer(url: str, bundle: Bundle, feast_folder: Path) -> None:
    assert smoke_test(url, bundle, None).ranked == 0
    assert smoke_test(url + "/", bundle, open_features(bundle.manifest, str(feast_folder))).ranked > 10


def test_the_smoke_test_sees_another_bundle(url: str, made: Path, tmp_path: Path) -> None:
    other = with_other_scores(made / "bundle", tmp_path / "wrong", tmp_path / "scratch")
    with pytest.raises(BlockedError, match=r"serves \['toy-.*'\] and not toy-"):
        smoke_test(url, open_bundle(other), None)


def test_the_smoke_test_sees_a_server_that_is_not_there(bundle: Bundle) -> None:
    with pytest.raises(BlockedError, match="does not answer"):
        smoke_test("http://127.0.0.1:9", bundle, None)


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("/rank", lambda answer: answer["items"].reverse(), "not in order"),
        ("/rank", lambda answer: answer["items"].pop(), "the items it was asked about"),
        ("/rank", lambda answer: answer.update(bundle="toy-0"), "the items it was asked about"),
        ("/rank", lambda answer: answer["items"][0].update(score=0.9999), "/rank and /infer differ by"),
        ("/rank", lambda answer: answer.update(items=None), "the items it was asked about"),
        ("/rank", lambda answer: answer["items"][0].update(score=None), "not finite"),
        ("/infer", lambda answer: answer["outputs"][0]["data"].pop(), "differ from training's by inf"),
        ("/infer", lambda answer: answer["outputs"][0]["data"].__setitem__(3, None), "differ from training's by nan"),
        ("/infer", lambda answer: answer.update(outputs=[]), "is not an answer"),
    ],
)
def test_the_smoke_test_sees_wrong_answers(
    url: str, bundle: Bundle, feast_folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, change: Any, message: str
) -> None:
    """Between the server and the test someone changes the answers."""
    answer_of = httpx.Client.request

    def changed(self: httpx.Client, method: str, address: str, **other: Any) -> httpx.Response:
        response = answer_of(self, method, address, **other)
        if not address.endswith(path):
            return response
        content = response.json()
        change(content)
        return httpx.Response(200, json=content)

    monkeypatch.setattr(httpx.Client, "request", changed)
    with pytest.raises(BlockedError, match=message):
        smoke_test(url, bundle, open_features(bundle.manifest, str(feast_folder)))


def test_scores_are_compared_in_full_precision(bundle: Bundle) -> None:
    """A float32 written as JSON is read back as itself: the tolerance is for the network, not for the wire."""
    from elec.serving.golden import Golden
    from elec.serving.predictor import Predictor

    scores = Predictor(bundle).score(Golden.load(bundle.golden, bundle.manifest.fields).records)
    read = orjson.loads(orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY))
    np.testing.assert_array_equal(np.asarray(read, np.float32), scores)
