"""Training: the losses, the loop, the students with and without their teachers, and the trained model's folder."""

from elec.training.checkpoint import ModelRecord, load_network, load_record
from elec.training.distill import DistillReport, StudentsRecord, distill
from elec.training.inputs import StudentInputs, read_inputs
from elec.training.losses import JointLoss, TeachingLoss, click_loss, clid, joint_loss, representation_loss, teaching_loss
from elec.training.pair import train_pair
from elec.training.plain import train_plain
from elec.training.unlabelled import Items, PairTeacher, UnlabelledPairs, read_items

__all__ = [
    "DistillReport",
    "Items",
    "JointLoss",
    "ModelRecord",
    "PairTeacher",
    "StudentInputs",
    "StudentsRecord",
    "TeachingLoss",
    "UnlabelledPairs",
    "click_loss",
    "clid",
    "distill",
    "joint_loss",
    "load_network",
    "load_record",
    "read_inputs",
    "read_items",
    "representation_loss",
    "teaching_loss",
    "train_pair",
    "train_plain",
]
