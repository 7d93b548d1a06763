"""The arms: what each one trains, on what, and which of the networks that come out it is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Whose vectors: of the rows' own texts, of other texts, noise of the same size, or none at all.
Source = Literal["text", "shuffled", "random", "none"]
Student = Literal["vanilla", "semantic_ids", "vectors"]
#: A training: one network on labels, gain and vanilla network, or the M-LLM's two layers.
Training = Literal["plain", "pair", "mllm"]


@dataclass(frozen=True)
class Arm:
    """One line of a table.

    Attributes:
        name: In experiments and cells.
        title: For people.
        training: What is trained.
        network: Of which network the figures are.
        student: What the student reads.
        teacher: What the gain network's M-LLM reads.
        reads: What the student's own codes or vectors are made of.
        changes: Settings of `run` that make this arm.
        unlabelled: Whether the teacher also scores unlabelled pairs.
        serves: What is needed online.
        control_of: The arm whose lift it puts in doubt.
    """

    name: str
    title: str
    training: Training
    network: Literal["plain", "vanilla", "gain", "mllm"]
    student: Student = "vanilla"
    teacher: Source = "none"
    reads: Source = "none"
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    unlabelled: bool = False
    serves: str = "fields"
    control_of: str | None = None


_TABULAR, _LOOKED_UP, _ONLINE = "fields", "fields, vectors looked up", "fields, LLM"
#: What a student is called, and what it needs online.
STUDENTS: dict[Student, tuple[str, str]] = {
    "vanilla": ("vanilla", _TABULAR),
    "semantic_ids": ("vanilla + semantic ids", _TABULAR),
    "vectors": ("vanilla + vectors", _LOOKED_UP),
}
_LABEL: dict[Source, str] = {"none": "label-only teacher", "shuffled": "shuffled text", "random": "random vectors"}
_CONTROLS: dict[str, Source] = {"label_only": "none", "shuffled": "shuffled", "random": "random"}


def _plain(name: str, title: str) -> Arm:
    return Arm(name, title, "plain", "plain", changes={"model.name": name})


def _taught(name: str, mode: str, student: Student, *, unlabelled: bool = False, teacher: Source = "text", of: str = "") -> Arm:
    """A student that a gain network teaches; a control replaces both what the teacher and what the student reads."""
    reads: Source = "none" if student == "vanilla" else "text" if teacher == "none" else teacher
    title, serves = STUDENTS[student]
    title = f"ELEC {title}, {mode.replace('_', '-')}" + (", unlabelled pairs" if unlabelled else "")
    if teacher != "text":
        title = f"{title}: {_LABEL[teacher]}"
    changes: dict[str, Any] = {"distill.mode": mode}
    if not unlabelled:
        changes["distill.unlabelled.share"] = 0.0
    return Arm(name, title, "pair", "vanilla", student, teacher, reads, changes, unlabelled, serves, of or None)


def _untaught(name: str, student: Student, reads: Source, of: str = "") -> Arm:
    """The same student without a teacher: what its codes or vectors give by themselves."""
    title, serves = STUDENTS[student]
    title = f"{title}, no teacher" + (f": {_LABEL[reads]}" if reads != "text" else "")
    return Arm(name, title, "plain", "plain", student, "none", reads, {}, False, serves, of or None)


def _all() -> list[Arm]:
    joint: dict[str, Any] = {"distill.mode": "joint", "distill.unlabelled.share": 0.0}
    arms = [
        _plain("dnn", "DNN"),
        _plain("deepfm", "DeepFM"),
        _plain("autoint", "AutoInt"),
        _plain("dcnv2", "DCNv2"),
        Arm("mllm", "M-LLM alone", "mllm", "mllm", teacher="text", serves="LLM"),
        Arm("gain", "gain network", "pair", "gain", "vanilla", "text", changes=joint, serves=_ONLINE),
    ]
    for suffix, teacher in _CONTROLS.items():
        title = f"gain network: {_LABEL[teacher]}"
        control = Arm(f"gain_{suffix}", title, "pair", "gain", "vanilla", teacher, changes=joint, control_of="gain")
        arms.append(control)
    # name, mode, student, unlabelled pairs
    taught: list[tuple[str, str, Student, bool]] = [
        ("elec", "joint", "vanilla", False),
        ("two_stage", "two_stage", "vanilla", False),
        ("unlabelled", "two_stage", "vanilla", True),
        ("joint_unlabelled", "joint", "vanilla", True),
        ("semantic_ids", "two_stage", "semantic_ids", False),
        ("semantic_ids_unlabelled", "two_stage", "semantic_ids", True),
        ("vectors", "two_stage", "vectors", False),
        ("vectors_unlabelled", "two_stage", "vectors", True),
    ]
    for name, mode, student, unlabelled in taught:
        arms.append(_taught(name, mode, student, unlabelled=unlabelled))
        for suffix, teacher in _CONTROLS.items():
            arms.append(_taught(f"{name}_{suffix}", mode, student, unlabelled=unlabelled, teacher=teacher, of=name))
    reading: tuple[Student, ...] = ("semantic_ids", "vectors")
    for student in reading:
        own = f"{student}_plain"
        arms += [_untaught(own, student, "text")]
        arms += [_untaught(f"{own}_{reads}", student, reads, of=own) for reads in ("shuffled", "random")]
    arms += [
        Arm("no_clid", "without CLID", "pair", "vanilla", teacher="text", changes={**joint, "distill.score_weight": 0.0}),
        Arm("no_mse", "without MSE", "pair", "vanilla", teacher="text", changes={**joint, "distill.alpha": 0.0}),
        Arm("no_text", "without text (label-only teacher)", "pair", "vanilla", changes=joint),
    ]
    return arms


#: By name, in the order of the tables.
ARMS: dict[str, Arm] = {arm.name: arm for arm in _all()}
