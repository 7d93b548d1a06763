"""An experiment, said once in YAML: the data set, the recipe, the search space, the arms of every table."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from elec.errors import InputError
from elec.evidence.arms import ARMS
from elec.spec.frozen import Frozen
from elec.spec.run import RunSpec

Values = Annotated[tuple[Any, ...], Field(min_length=1)]

#: The tables of the paper, and the key of an experiment that says what is in them.
TABLES = {2: "comparison", 3: "ablation", 4: "llms", 5: "inference"}


class Search(Frozen):
    """What is searched, as dotted settings of `run`; every arm is given the same shared draws and as many trials.

    Attributes:
        shared: Of every network's training.
        distilled: Also, where a gain network teaches.
        unlabelled: Also, where there are unlabelled pairs.
        teacher: Of the M-LLM's adaptation.
        seed: Of the draws.
    """

    shared: dict[str, Values] = Field(default_factory=dict)
    distilled: dict[str, Values] = Field(default_factory=dict)
    unlabelled: dict[str, Values] = Field(default_factory=dict)
    teacher: dict[str, Values] = Field(default_factory=dict)
    seed: int = 0


class Experiment(Frozen):
    """One data set, and what is measured on it.

    Attributes:
        name: The file's name; results go to a folder called so.
        title: For people.
        about: What the data set is for; a line under the title.
        spec: Name or file of the data set's spec; `spec.yaml` in the prepared log's folder when left out.
        prepare: A command that makes the log; `{folder}` is where, `{seed}` the seed. None when the spec reads files that are
            there.
        resample: Whether every seed has a log of its own.
        run: The recipe: the first trial of every arm.
        metric: Of the validation rows; it chooses among the trials.
        trials: An arm, the recipe included.
        seeds: Final trainings an arm; the search has a seed of its own.
        search: The search space.
        borrowed: Arms that take the settings chosen for another arm instead of searching.
        baseline: What lifts are measured against.
        comparison: Arms of table 2.
        ablation: Arms of table 3.
        llms: Base LLMs of table 4.
        inference: Arms of table 5.
        resamples: Of the bootstrap.
        confidence: Of its intervals.
    """

    name: str
    title: str
    about: str = ""
    spec: str | None = None
    prepare: tuple[str, ...] = ()
    resample: bool = False
    run: RunSpec = RunSpec()
    metric: Literal["auc", "logloss"] = "auc"
    trials: int = Field(default=4, ge=1, le=1000)
    seeds: int = Field(default=5, ge=1, le=100)
    search: Search = Search()
    borrowed: dict[str, str] = Field(default_factory=dict)
    baseline: str = "dcnv2"
    comparison: tuple[str, ...] = ()
    ablation: tuple[str, ...] = ()
    llms: tuple[str, ...] = ()
    inference: tuple[str, ...] = ()
    resamples: int = Field(default=1000, ge=10)
    confidence: float = Field(default=0.95, gt=0, lt=1)

    @model_validator(mode="after")
    def _known_arms(self) -> Self:
        named = [self.baseline, *self.comparison, *self.ablation, *self.inference, *self.borrowed, *self.borrowed.values()]
        for name in named:
            if name not in ARMS:
                raise ValueError(f"'{name}' is not an arm; known: {', '.join(ARMS)}")
        for taker, giver in self.borrowed.items():
            if giver in self.borrowed:
                raise ValueError(f"'{taker}' borrows the settings of '{giver}', which borrows its own")
        return self

    @model_validator(mode="after")
    def _known_settings(self) -> Self:
        for part in (self.search.shared, self.search.distilled, self.search.unlabelled, self.search.teacher):
            for name, values in part.items():
                for value in values:
                    changed(self.run, {name: value})
        if self.spec is None and not self.prepare:
            raise ValueError("give `spec`, or a `prepare` command that writes spec.yaml into its folder")
        return self


def changed(run: RunSpec, changes: dict[str, Any]) -> RunSpec:
    """A run with other settings.

    Args:
        run: The settings.
        changes: Values by dotted name, `distill.alpha`.

    Raises:
        ValueError: If there is no such setting, or the value does not fit it.
    """
    content = run.model_dump()
    for name, value in changes.items():
        *parents, last = name.split(".")
        place = content
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None  # type: ignore[assignment]
        if not isinstance(place, dict) or last not in place:
            raise ValueError(f"'{name}' is not a setting of `run`")
        place[last] = value
    return RunSpec.model_validate(content)


def load_experiment(path: Path) -> Experiment:
    """Reads an experiment.

    Args:
        path: The YAML file.

    Raises:
        InputError: If it cannot be read, or something in it is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as an experiment ({error}); give a YAML file") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]}); check indentation and quotes") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no keys of an experiment; see the experiments beside it")
    try:
        return Experiment.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the experiment"
        raise InputError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}; correct it") from None


def load_experiments(folder: Path, names: list[str]) -> list[Experiment]:
    """Reads the experiments of a folder.

    Args:
        folder: With one YAML file an experiment.
        names: Which; all when empty.

    Raises:
        InputError: If there is no such experiment, or one is wrong.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if not files:
        raise InputError(f"{folder}: holds no experiment (*.yaml); give the folder that does as --experiments")
    for name in names:
        if name not in files:
            raise InputError(f"--dataset {name}: there is no {folder / name}.yaml; known: {', '.join(files)}")
    return [load_experiment(files[name]) for name in names or files]
