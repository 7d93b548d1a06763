"""The OpenAPI document against the real server: schemathesis asks it what the document allows, and what it forbids."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from elec.deploy.local import LocalDeployment
from elec.serving.golden import Golden
from elec.serving.http.openapi import Described
from elec.serving.http.protocol import infer_request
from elec.serving.service import Serving, open_service
from elec.spec.serving import ServingSpec
from tests.serving.made import shared_students

# A request whose parts do not fit each other (columns of different length) cannot be told from one whose parts do by a
# schema: 422 is how the document says it is answered.
CONFIG = '[checks]\npositive_data_acceptance.expected-statuses = ["2xx", "401", "404", "422", "429"]\n'


@pytest.fixture(scope="module")
def url(made: Path, feast_folder: Path) -> Iterator[str]:
    with LocalDeployment(str(made / "bundle"), str(feast_folder)) as server:
        yield server.url


def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml"]
    asked = ["run", f"{url}/openapi.json", "--checks", "all", "--phases", "examples,coverage,fuzzing"]
    bounds = ["--max-examples", "10", "--seed", "7", "--no-color", "--suppress-health-check", "all"]
    done = subprocess.run([*program, *asked, *bounds], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "11/11" in done.stdout


def test_the_examples_are_answered(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json", trust_env=False).json()
    asked = 0
    for path, operations in document["paths"].items():
        examples = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in examples.get("examples", {}).values():
            version = operations.get("parameters", [{}])[0].get("example", "")
            answer = httpx.post(url + path.replace("{version}", version), json=example["value"], trust_env=False, timeout=30)
            assert answer.status_code == 200, answer.text
            asked += 1
    assert asked == 4


def test_the_document_follows_the_bundle_and_the_token() -> None:
    students, settings = shared_students(), ServingSpec()
    serving = Serving(open_service(str(students / "vanilla"), "", settings))
    described = Described(serving, settings, closed=True)
    before = described.document()
    assert described.document() is before
    assert before["security"] == [{"token": []}]
    assert before["paths"]["/v2/health/ready"]["get"]["security"] == []
    assert "401" in before["paths"]["/rank"]["post"]["responses"]
    serving.swap(open_service(str(students / "vectors"), "", settings))
    after = described.document()
    tensors = after["paths"]["/v2/models/elec/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    names = {schema["properties"]["name"]["const"] for schema in tensors["properties"]["inputs"]["items"]["anyOf"]}
    manifest = serving.current.manifest
    assert names == {*(field.name for field in manifest.fields), "vectors"}
    golden = Golden.load(serving.current.bundle.golden, manifest.fields, manifest.vector_size)
    assert golden.vectors is not None
    example = after["paths"]["/v2/models/elec/infer"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert example["golden"]["value"] == infer_request(golden.records.slice(0, 2), manifest.fields, golden.vectors[:2])
