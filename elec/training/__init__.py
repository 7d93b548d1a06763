"""Training: the joint loss, the loop, and the trained model's folder."""

from elec.training.checkpoint import ModelRecord, load_network, load_record
from elec.training.distill import DistillReport, distill
from elec.training.losses import JointLoss, click_loss, clid, joint_loss, representation_loss

__all__ = [
    "DistillReport",
    "JointLoss",
    "ModelRecord",
    "click_loss",
    "clid",
    "distill",
    "joint_loss",
    "load_network",
    "load_record",
    "representation_loss",
]
