"""Starts a compiled pipeline on a Kubeflow Pipelines server, once or again and again.

A pipeline is uploaded as a version named by the code's version and by the hash of its content, and runs refer to that version:
the same content is uploaded once, and a schedule keeps running what it was made with until it is made anew.
"""

import contextlib
import hashlib
import io
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from elec.errors import InputError
from elec.version import image_tag
from pipelines.connection import Server, answers, connect
from pipelines.cron import check_cron

EXPERIMENT = "elec"

_EQUALS = "EQUALS"
_PAGE = 100


@dataclass(frozen=True)
class _Package:
    """A compiled pipeline.

    Attributes:
        path: Its file.
        name: The pipeline's name.
        version: Code version and content hash.
        parameters: The names of the pipeline's parameters.
    """

    path: Path
    name: str
    version: str
    parameters: frozenset[str]


@dataclass(frozen=True)
class _Version:
    """An uploaded version of a pipeline."""

    pipeline_id: str
    version_id: str


def submit(
    host: str,
    package_path: Path | str,
    *,
    arguments: Mapping[str, Any] | None = None,
    experiment: str = EXPERIMENT,
    run_name: str = "",
    namespace: str = "",
    token: str = "",
) -> str:
    """Uploads a compiled pipeline, if this version is not there yet, and starts a run of it.

    Args:
        host: The server's address, such as `http://localhost:8888`.
        package_path: The compiled pipeline.
        arguments: Parameters of the pipeline that differ from their defaults.
        experiment: Where the run is listed; made if it does not exist.
        run_name: Shown in the list; the pipeline's name and the time, if left out.
        namespace: See `connect`.
        token: See `connect`.

    Returns:
        The address of the run's page, which ends with the run's id.

    Raises:
        InputError: If the file, an argument or the address is wrong, or the server refuses.
        RunFailedError: If the server has failed.
    """
    package = _package(package_path, arguments)
    server = connect(host, namespace=namespace, token=token)
    with _talking(server):
        version = _upload(server, package)
        run = server.client.run_pipeline(
            experiment_id=_experiment(server, experiment),
            job_name=run_name or f"{package.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}",
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
            params=dict(arguments or {}),
        )
    return server.page(f"runs/details/{run.run_id}")


def schedule(
    host: str,
    package_path: Path | str,
    *,
    cron: str,
    arguments: Mapping[str, Any] | None = None,
    experiment: str = EXPERIMENT,
    name: str = "",
    namespace: str = "",
    token: str = "",
) -> str:
    """Lets a compiled pipeline run again and again: one run at a time, nothing caught up, a pinned version.

    A schedule of the same name is replaced: the earlier one stays on the server, disabled, for a deleted one would take its
    running run with it. If nothing has changed, the schedule is left as it is.

    Args:
        host: The server's address.
        package_path: The compiled pipeline.
        cron: Six fields in UTC; see `check_cron`.
        arguments: Parameters of the pipeline that differ from their defaults.
        experiment: Where its runs are listed; made if it does not exist.
        name: The schedule's; the pipeline's, if left out.
        namespace: See `connect`.
        token: See `connect`.

    Returns:
        The address of the schedule's page, which ends with its id.

    Raises:
        InputError: If the expression, the file, an argument or the address is wrong, or the server refuses.
        RunFailedError: If the server has failed.
    """
    expression = check_cron(cron)
    package = _package(package_path, arguments)
    server = connect(host, namespace=namespace, token=token)
    client = server.client
    with _talking(server):
        version = _upload(server, package)
        wanted = {
            "experiment_id": _experiment(server, experiment),
            "cron_expression": expression,
            "version_id": version.version_id,
            "params": dict(arguments or {}),
        }
        enabled = [job for job in _schedules(server, name or package.name) if job.status == "ENABLED"]
        same = next((job for job in enabled if _is(job, wanted)), None)
        disabled = []
        try:
            for job in enabled:
                if job is not same:
                    client.disable_recurring_run(job.recurring_run_id)
                    disabled.append(job.recurring_run_id)
            if same is None:
                same = client.create_recurring_run(
                    job_name=name or package.name,
                    description=f"{package.name} {package.version}",
                    pipeline_id=version.pipeline_id,
                    max_concurrency=1,
                    no_catchup=True,
                    enabled=True,
                    **wanted,
                )
        except BaseException:
            # Retraining must not stop in silence because its new schedule was refused.
            for recurring_run_id in disabled:
                client.enable_recurring_run(recurring_run_id)
            raise
    return server.page(f"recurringrun/details/{same.recurring_run_id}")


def _package(path: Path | str, arguments: Mapping[str, Any] | None) -> _Package:
    path = Path(path)
    try:
        content = path.read_bytes()
        pipeline: Any = next(yaml.safe_load_all(content), None)
        name = pipeline["pipelineInfo"]["name"]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); write it with `elec compile`") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError(f"{path}: not a compiled pipeline; write it with `elec compile`") from None
    parameters = frozenset(pipeline.get("root", {}).get("inputDefinitions", {}).get("parameters", {}))
    for argument in sorted(set(arguments or {}) - parameters):
        raise InputError(
            f"{path}: the pipeline has no parameter '{argument}'; it has {', '.join(sorted(parameters)) or 'none'}"
        )
    return _Package(path, name, f"{image_tag()}-{hashlib.sha256(content).hexdigest()[:12]}", parameters)


@contextlib.contextmanager
def _talking(server: Server) -> Iterator[None]:
    """The client prints links of its own; ours is the answer."""
    with answers(server.host), contextlib.redirect_stdout(io.StringIO()):
        yield


def _upload(server: Server, package: _Package) -> _Version:
    pipeline_id = _pipeline(server, package.name)
    known = _versions(server, pipeline_id, package.version)
    if not known:
        uploaded = server.client.upload_pipeline_version(
            str(package.path), pipeline_version_name=package.version, pipeline_id=pipeline_id
        )
        known = [uploaded]
    return _Version(pipeline_id, known[0].pipeline_version_id)


def _pipeline(server: Server, name: str) -> str:
    """The pipeline's id; a new pipeline has no version yet, so that each of its versions is named by its content."""
    from kfp_server_api import V2beta1Pipeline

    found = _pages(
        lambda token: server.client.list_pipelines(
            page_token=token, page_size=_PAGE, filter=_named(name), namespace=server.namespace
        ),
        "pipelines",
    )
    for pipeline in found:
        return str(pipeline.pipeline_id)
    body = V2beta1Pipeline(display_name=name, name=name, namespace=server.namespace)
    return str(server.client.pipelines.pipeline_service_create_pipeline(pipeline=body).pipeline_id)


def _versions(server: Server, pipeline_id: str, name: str) -> list[Any]:
    return list(
        _pages(
            lambda token: server.client.list_pipeline_versions(
                pipeline_id, page_token=token, page_size=_PAGE, filter=_named(name)
            ),
            "pipeline_versions",
        )
    )


def _schedules(server: Server, name: str) -> list[Any]:
    # In all experiments: one that was made in another experiment would double the runs too.
    return list(
        _pages(
            lambda token: server.client.list_recurring_runs(
                page_token=token, page_size=_PAGE, filter=_named(name), namespace=server.namespace
            ),
            "recurring_runs",
        )
    )


def _is(job: Any, wanted: dict[str, Any]) -> bool:
    """Whether a schedule is already as it should be."""
    return (
        job.experiment_id == wanted["experiment_id"]
        and job.trigger is not None
        and job.trigger.cron_schedule is not None
        and job.trigger.cron_schedule.cron == wanted["cron_expression"]
        and job.pipeline_version_reference is not None
        and job.pipeline_version_reference.pipeline_version_id == wanted["version_id"]
        and ((job.runtime_config and job.runtime_config.parameters) or {}) == wanted["params"]
        and bool(job.no_catchup)
        and int(job.max_concurrency or 0) == 1
    )


def _experiment(server: Server, name: str) -> str:
    return str(server.client.create_experiment(name, namespace=server.namespace).experiment_id)


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "string_value": name}]})


def _pages(ask: Callable[[str], Any], kind: str) -> Iterator[Any]:
    token = ""
    while True:
        answer = ask(token)
        yield from getattr(answer, kind) or ()
        token = answer.next_page_token or ""
        if not token:
            return
