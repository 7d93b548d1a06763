"""Which language model it is, and where its files are: found by name or folder, told apart by the content of its files.

Nothing here asks a model hub, and no code that comes with a model is run.
"""

import hashlib
import re
from pathlib import Path

from elec.errors import InputError
from elec.llm.known import KNOWN, known_folder, sha256_of
from elec.spec.learning import LlmSpec

#: How the last hidden states of a text become one vector.
POOLING = "mean"

# Besides the weights, what a vector depends on: the shape of the model and how text becomes tokens.
_SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "*.model")


def model_folder(name: str) -> Path:
    """The folder with a model's files.

    Args:
        name: A name of `KNOWN`, or a folder in Hugging Face's layout.

    Raises:
        InputError: If there is no such model, its files are not what they should be, or it has no weights that are loaded.
    """
    if name in KNOWN:
        return known_folder(name)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"llm.name '{name}': no such language model; use one of: {', '.join(KNOWN)}, "
            "or the folder of a Hugging Face model (config.json, tokenizer, *.safetensors; or one *.gguf)"
        )
    if not (folder / "config.json").is_file() and not any(folder.glob("*.gguf")):
        raise InputError(f"llm.name '{name}': the folder has no config.json; give the folder of a Hugging Face model")
    _weights(folder)
    return folder


def llm_id(spec: LlmSpec) -> str:
    """Names the model together with every setting that changes a vector: two texts' vectors compare if it is the same.

    Args:
        spec: The model and its settings.

    Returns:
        For example `all-MiniLM-L6-v2-0f1e2d3c4b5a`: a short name, and a hash of the files' content, pooling, max_tokens and
        a precision that is asked for (`auto` is not: what it picks differs by host, and the vectors hardly do).

    Raises:
        InputError: As `model_folder`.
    """
    folder = model_folder(spec.name)
    settings = {path for pattern in (*_SETTINGS, *_VOCABULARIES) for path in folder.glob(pattern)}
    parts = [f"{path.name}={sha256_of(path)}" for path in sorted([*_weights(folder), *settings])]
    parts += [f"pooling={POOLING}", f"max_tokens={spec.max_tokens}"]
    if spec.precision != "auto":
        parts.append(f"precision={spec.precision}")
    content = "\n".join(parts)
    name = re.sub(r"[^A-Za-z0-9._]+", "-", Path(spec.name).name).strip("-.")[:40] or "llm"
    return f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def gguf_file(folder: Path) -> str | None:
    """The name of a folder's weights if they are in GGUF, which also holds the configuration and the tokenizer.

    Args:
        folder: From `model_folder`.
    """
    weights = _weights(folder)[0]
    return weights.name if weights.suffix == ".gguf" else None


def _weights(folder: Path) -> list[Path]:
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.gguf"))
    if not weights:
        raise InputError(
            f"llm.name '{folder}': the folder has neither *.safetensors nor *.gguf, and no other kind is loaded; "
            "save the model as safetensors"
        )
    if weights[0].suffix == ".gguf" and len(weights) > 1:
        raise InputError(f"llm.name '{folder}': {len(weights)} GGUF files, and which is meant is not told; leave one")
    return weights
