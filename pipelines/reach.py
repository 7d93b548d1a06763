"""What a cluster's pods cannot reach, said before anything is uploaded."""

from elec import storage
from elec.errors import InputError
from elec.spec import Spec


def check_reach(spec: Spec, workspace: str) -> None:
    """Checks that everything a run reads and writes is where each of its pods gets at it.

    Args:
        spec: The data set and the run's settings.
        workspace: What outlives a run.

    Raises:
        InputError: If the log, a side table, the workspace or Feast's online store is on this machine.
    """
    if not storage.is_s3(workspace):
        raise InputError(f"--workspace {workspace}: a cluster's pods do not share this folder; give s3://bucket/prefix")
    tables = spec.dataset.tables
    sources = {
        "source": spec.dataset.source,
        "label.clicks": spec.dataset.label.clicks,
        "tables.users": tables.users,
        "tables.items": tables.items,
    }
    for field, source in sources.items():
        if source is not None and not storage.is_s3(source.path):
            raise InputError(
                f"{field}.path of {spec.dataset.name} is {source.path}, which a cluster's pods cannot read; put it on S3"
            )
    if spec.run.feast.online_store != "redis":
        raise InputError("run.feast.online_store is sqlite, a file that a cluster's pods do not share; set it to redis")
    if "/" in spec.run.llm.name:
        raise InputError(
            f"run.llm.name is {spec.run.llm.name}, a folder that the training image does not have; name a model of the image's"
        )
