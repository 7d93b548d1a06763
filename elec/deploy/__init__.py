"""Deployment: a bundle becomes a running service, on this machine or on KServe, or the champion goes on serving."""

from elec.deploy.deployment import DeployReport, deploy
from elec.deploy.local import LocalDeployment
from elec.deploy.smoke import SmokeReport, smoke_test

__all__ = ["DeployReport", "LocalDeployment", "SmokeReport", "deploy", "smoke_test"]
