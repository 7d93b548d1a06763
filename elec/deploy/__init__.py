"""Deployment: a bundle becomes a running service, on this machine or on KServe, or the champion goes on serving."""

from elec.deploy.canary import CanaryReport, CanaryRolledBackError
from elec.deploy.deployment import DeployReport, deploy, put_in_service
from elec.deploy.local import LocalDeployment
from elec.deploy.smoke import SmokeReport, smoke_test

__all__ = [
    "CanaryReport",
    "CanaryRolledBackError",
    "DeployReport",
    "LocalDeployment",
    "SmokeReport",
    "deploy",
    "put_in_service",
    "smoke_test",
]
