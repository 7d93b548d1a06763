"""Compiles a pipeline to the YAML that Kubeflow Pipelines takes, checked before it is written."""

import tempfile
from pathlib import Path

from kfp.compiler import Compiler
from kfp.dsl.base_component import BaseComponent

from elec import storage
from elec.errors import InputError, RunFailedError
from elec.version import image_tag
from pipelines.yaml_check import check_compiled

_SUFFIXES = {".yaml", ".yml"}


def compile_pipeline(pipeline: BaseComponent, output: Path | str) -> Path:
    """Writes a pipeline as YAML, in one step: a file that is there is whole, and has passed the check.

    Args:
        pipeline: What `@dsl.pipeline` has made of a function.
        output: The file to write; `.yaml` or `.yml`.

    Returns:
        The file.

    Raises:
        InputError: If the file cannot be written, or has another ending.
        RunFailedError: If the compiled pipeline would fail on a cluster; that is an error of the pipeline's author.
    """
    path = Path(output)
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: a compiled pipeline is a .yaml or .yml file; name it so")
    with tempfile.TemporaryDirectory(prefix="elec-compile-") as scratch:
        draft = Path(scratch, "pipeline.yaml")
        Compiler().compile(pipeline, str(draft))
        problems = check_compiled(draft, tag=image_tag())
        if problems:
            raise RunFailedError(f"{path}: not written, for the pipeline would fail on a cluster: {'; '.join(problems)}")
        content = draft.read_bytes()
    try:
        storage.write_bytes(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); give another file") from None
    return path
