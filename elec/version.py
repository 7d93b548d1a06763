"""Which code this is: bundles, summaries and container images are named by it."""

import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path

import elec

#: Set in images, whose files are no git checkout.
CODE_VERSION = "ELEC_CODE_VERSION"

_TAG_LENGTH = 128


@lru_cache(maxsize=1)
def code_version() -> str:
    """The code's version.

    Returns:
        `$ELEC_CODE_VERSION`, else the short commit of the checkout that is installed (with `-dirty` if files differ from
        it), else the package's version.
    """
    return os.environ.get(CODE_VERSION, "").strip() or _commit(Path(elec.__file__).parent.parent) or elec.__version__


def image_tag(version: str = "") -> str:
    """A code version as a tag that container images can have.

    Args:
        version: This code's when left out.
    """
    tag = re.sub(r"[^A-Za-z0-9_.-]", "-", version or code_version())
    return (tag if re.match(r"[A-Za-z0-9_]", tag) else f"v{tag}")[:_TAG_LENGTH]


def image_name(kind: str, registry: str = "", version: str = "") -> str:
    """The name of one of our images.

    Args:
        kind: `serving`, `serving-gpu` or `training`.
        registry: Where the images are; empty for a bare name.
        version: Of the code in it; this code's when left out.
    """
    name = f"elec-{kind}:{image_tag(version)}"
    return f"{registry.rstrip('/')}/{name}" if registry else name


def _commit(root: Path) -> str:
    # Without a `.git` of its own the package may lie inside some other project's checkout: that commit is not ours.
    if not (root / ".git").exists():
        return ""
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return ""
    return f"{commit}-dirty" if _git(root, "status", "--porcelain") else commit


def _git(root: Path, *arguments: str) -> str:
    """What git answers; nothing if there is no git, or it will not tell."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
