import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import elec
from elec import version


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(version.CODE_VERSION, raising=False)
    version.code_version.cache_clear()
    yield
    version.code_version.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    done = subprocess.run(["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "elec").mkdir()
    (tmp_path / "elec" / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(elec, "__file__", str(tmp_path / "elec" / "__init__.py"))
    return tmp_path


def test_a_checkout_is_its_commit(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert version.code_version() == commit[:12]


@pytest.mark.parametrize("name", ["elec/__init__.py", "elec/new.py"])
def test_a_changed_checkout_says_so(checkout: Path, name: str) -> None:
    (checkout / name).write_text("changed = True\n")
    assert version.code_version().endswith("-dirty")


def test_without_a_checkout_it_is_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    # Inside the checkout of something else: that commit is not ours.
    inner = checkout / "site-packages" / "elec"
    inner.mkdir(parents=True)
    monkeypatch.setattr(elec, "__file__", str(inner / "__init__.py"))
    assert version.code_version() == elec.__version__


def test_an_image_says_it_itself(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(version.CODE_VERSION, " 1234abcd ")
    assert version.code_version() == "1234abcd"


@pytest.mark.parametrize(
    ("given", "tag"),
    [
        ("abc123-dirty", "abc123-dirty"),
        ("0.1.0+local", "0.1.0-local"),
        (".a/b", "v.a-b"),
        ("-x", "v-x"),
        ("ü", "v-"),
        ("a" * 200, "a" * 128),
    ],
)
def test_a_tag_is_one_that_images_can_have(given: str, tag: str) -> None:
    assert version.image_tag(given) == tag
    assert version.image_name("serving", "", given) == f"elec-serving:{tag}"
    assert version.image_name("training", "reg.example/team/", given) == f"reg.example/team/elec-training:{tag}"
