"""The environment of a container of ours on a cluster, whatever it does there."""

from typing import Any

from elec.spec.run import ClusterSpec

#: Where a container may write.
SCRATCH = "/tmp"  # noqa: S108 - a volume of the pod's own


def environment(cluster: ClusterSpec) -> list[dict[str, Any]]:
    """The environment of a container of ours: switches, and secrets by reference."""
    variables: list[dict[str, Any]] = [
        {"name": "DO_NOT_TRACK", "value": "1"},
        {"name": "FEAST_USAGE", "value": "False"},
        {"name": "HOME", "value": SCRATCH},
        {"name": "ELEC_CACHE", "value": f"{SCRATCH}/elec"},
    ]
    if cluster.s3_endpoint:
        variables.append({"name": "AWS_ENDPOINT_URL", "value": cluster.s3_endpoint})
    secrets = dict(cluster.secrets)
    if cluster.s3_secret:
        secrets |= {name: f"{cluster.s3_secret}/{name}" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    for name, place in secrets.items():
        secret, _, key = place.partition("/")
        variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return variables
