"""Reads a spec from YAML, and turns whatever is wrong with it into one sentence."""

import importlib.resources
import os
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from elec.errors import InputError
from elec.spec.dataset import DatasetSpec
from elec.spec.frozen import Frozen
from elec.spec.run import RunSpec
from elec.spec.sentences import sentence

# Innermost first, so that a default may hold a variable.
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")
_MAX_BYTES = 1_000_000
#: Characters of a library's message that are shown.
_SHOWN = 100


class Spec(Frozen):
    """A data set and how to run on it; as JSON, the one parameter that every pipeline component takes."""

    dataset: DatasetSpec
    run: RunSpec = RunSpec()


def cache_folder() -> Path:
    """Where fetched data and models are kept: `$ELEC_CACHE`, else `~/.cache/elec`."""
    root = os.environ.get("ELEC_CACHE")
    return Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "elec"


def shipped_specs() -> dict[str, Path]:
    """The specs that come with elec, by name."""
    folder = Path(str(importlib.resources.files("elec") / "datasets"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_spec(name_or_file: str | Path) -> Spec:
    """Loads a shipped spec by name, or a file.

    Args:
        name_or_file: `movielens-100k`, or the path of a YAML file.

    Returns:
        The spec, with every path absolute (or a URI).

    Raises:
        InputError: If there is no such file, it is not YAML, or a value in it is wrong.
    """
    path = shipped_specs().get(str(name_or_file)) or Path(name_or_file)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: a spec of more than {_MAX_BYTES:,} bytes; is this the data instead of its description?")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(shipped_specs())
        raise InputError(f"{name_or_file}: no such spec; give the path of a YAML file, or one of: {known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a spec ({error}); give the path of a YAML file") from None
    return parse_spec(text, origin=str(path), folder=path.resolve().parent)


def parse_spec(text: str, *, origin: str, folder: Path) -> Spec:
    """Parses the YAML of a spec.

    Args:
        text: The YAML: a data set's keys, and optionally `run`.
        origin: The file's name, for messages.
        folder: Where relative paths start.

    Raises:
        InputError: If anything in it is wrong; the message names the key, the value and the way out.
    """
    try:
        content = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise InputError(f"{origin}{line}: not valid YAML ({problem}); check indentation and quotes") from None
    except RecursionError:
        raise InputError(f"{origin}: not a spec (lists in lists without an end); see docs/bring-your-own-log.md") from None
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # What PyYAML's constructors meet in `!!float x` or in the date 2024-13-45.
        raise InputError(
            f"{origin}: a value is not what it looks like ({str(error)[:_SHOWN]}); put quotes around dates and other text"
        ) from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else "a list" if isinstance(content, list) else "a single value"
        raise InputError(f"{origin}: holds {found}, not the keys of a spec; see docs/bring-your-own-log.md")
    content = dict(content)
    run = {} if content.get("run") is None else content["run"]
    content.pop("run", None)
    try:
        spec = Spec.model_validate({"dataset": content, "run": run})
    except ValidationError as error:
        raise InputError(f"{origin}: {sentence(error, Spec, content)}") from None
    return _with_absolute_paths(spec, origin, folder)


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key which is there twice; plain YAML would forget the first without a word."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"U+{ord(value[error.start]):04X}"
            raise yaml.MarkedYAMLError(None, None, f"{half} is half of a character; write the whole", node.start_mark) from None
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    None, None, f"the key '{key}' is not text; put quotes around it", key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key '{key}' is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _with_absolute_paths(spec: Spec, origin: str, folder: Path) -> Spec:
    dataset = spec.dataset

    def resolve(path: str) -> str:
        return _absolute(path, origin, folder)

    tables = dataset.tables.model_copy(
        update={
            name: table.model_copy(update={"path": resolve(table.path)})
            for name, table in (("users", dataset.tables.users), ("items", dataset.tables.items))
            if table is not None
        }
    )
    source = dataset.source.model_copy(update={"path": resolve(dataset.source.path)})
    clicks, label = dataset.label.clicks, dataset.label
    if clicks is not None:
        label = label.model_copy(update={"clicks": clicks.model_copy(update={"path": resolve(clicks.path)})})
    changed = {"source": source, "tables": tables, "label": label}
    return spec.model_copy(update={"dataset": dataset.model_copy(update=changed)})


def _absolute(path: str, origin: str, folder: Path) -> str:
    def value_of(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name == "ELEC_CACHE":
            return str(cache_folder())
        value = os.environ.get(name) or default
        if value is None:
            raise InputError(f"{origin}: path '{path}' needs the environment variable {name}; export {name}=...")
        return value

    expanded = _VARIABLE.sub(value_of, path)
    expanded = _VARIABLE.sub(value_of, expanded)
    if "://" in expanded:
        return expanded
    return str(folder / Path(expanded).expanduser())
