"""The serving image installs requirements-serving.lock and nothing else: it is complete, small, and enough for the server."""

import importlib.metadata as metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
#: Only training needs these; each is large, or slow to import, or both.
HEAVY = {
    "torch",
    "transformers",
    "kfp",
    "kubernetes",
    "duckdb",
    "evidently",
    "scikit-learn",
    "sentence-transformers",
    "keybert",
}
#: The adapter for teams that run KServe's own model server; our image has our server.
KSERVE_SIDE = {"elec.serving.kserve_model"}


def lock(name):
    """The lines of a lock that apply here: name -> version."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            (pin,) = requirement.specifier
            assert pin.operator == "==", line
            found[canonicalize_name(requirement.name)] = pin.version
    return found


@pytest.fixture(scope="module")
def serving():
    return lock("requirements-serving.lock")


def wanted():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["serving"]]]


def test_no_training_package_is_in_the_serving_lock(serving):
    assert not HEAVY & set(serving)


def test_both_locks_agree_on_every_version(serving):
    training = lock("requirements.lock")
    assert {name: training.get(name) for name in serving} == serving


def test_the_serving_lock_is_complete(serving):
    """Follows the requirements of the installed packages: each has to be in the lock, in a version that will do."""
    queue, seen = wanted(), set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        assert name in serving, f"{name} is missing; run `make lock`"
        assert requirement.specifier.contains(serving[name], prereleases=True), f"{requirement}: the lock has {serving[name]}"
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in metadata.requires(name) or ():
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    queue.append(further)
    assert {name for name, _ in seen} == set(serving), "the lock has packages that nothing asks for; run `make lock`"


_IMPORT_ALL = """
import importlib, importlib.abc, json, pkgutil, sys

before = set(sys.modules)

class OnlyTheServingImage(importlib.abc.MetaPathFinder):
    blocked = frozenset(json.loads(sys.argv[1]))
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"{name} is not in the serving image", name=name)

sys.meta_path.insert(0, OnlyTheServingImage())
import elec.serving
for module in pkgutil.walk_packages(elec.serving.__path__, "elec.serving."):
    if module.name not in json.loads(sys.argv[2]):
        importlib.import_module(module.name)
for name in ("elec.features.encoding", "elec.features.online"):
    importlib.import_module(name)
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(loaded & OnlyTheServingImage.blocked)))
"""


def test_the_server_imports_in_the_serving_image(serving):
    """Every module of a distribution that the serving lock lacks is made unimportable, as in the image."""
    blocked = {
        module
        for module, distributions in metadata.packages_distributions().items()
        if not {canonicalize_name(name) for name in distributions} & {*serving, "elec"}
    }
    assert {"torch", "kfp", "duckdb", "evidently", "sklearn"} <= blocked
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL, json.dumps(sorted(blocked)), json.dumps(sorted(KSERVE_SIDE))],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "DO_NOT_TRACK": "1", "FEAST_USAGE": "False"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
