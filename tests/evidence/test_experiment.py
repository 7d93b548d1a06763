"""Experiments: what is read, and what is refused with which words."""

from pathlib import Path

import pytest

from elec.errors import InputError
from elec.evidence.experiment import Experiment, changed, load_experiment, load_experiments
from elec.spec.run import RunSpec


def write(folder: Path, text: str, name: str = "toy") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_experiments_are_valid() -> None:
    found = load_experiments(Path(__file__).parents[2] / "benchmarks" / "evidence", [])
    assert {"amazon-office", "movielens-1m-random"} <= {experiment.name for experiment in found}
    assert all(experiment.seeds >= 5 and experiment.baseline in experiment.comparison for experiment in found)


def test_a_file_names_its_experiment(tmp_path: Path) -> None:
    found = load_experiment(write(tmp_path, "title: Toy\nspec: x\ncomparison: [dcnv2, elec]\n"))
    assert (found.name, found.comparison, found.baseline) == ("toy", ("dcnv2", "elec"), "dcnv2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: T\nspec: x\ncomparison: [dcnv3]", "'dcnv3' is not an arm"),
        ("title: T\nspec: x\nsearch: {shared: {distill.rate: [1]}}", "'distill.rate' is not a setting"),
        ("title: T\nspec: x\nsearch: {shared: {distill.alpha: [-1]}}", "greater than or equal to 0"),
        ("title: T\n", "give `spec`, or a `prepare` command"),
        ("title: T\nspec: x\nborrowed: {elec: gain, gain: dcnv2}", "borrows its own"),
        ("title: T\nspec: x\nsedes: 5", "sedes"),
        ("title: [", "not valid YAML"),
        ("- 1", "no keys"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=r"toy\.yaml") as error:
        load_experiment(write(tmp_path, text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_data_set_is_named(tmp_path: Path) -> None:
    write(tmp_path, "title: T\nspec: x\n")
    with pytest.raises(InputError, match=r"--dataset other.*known: toy"):
        load_experiments(tmp_path, ["other"])
    with pytest.raises(InputError, match="holds no experiment"):
        load_experiments(tmp_path / "nothing", [])


def test_settings_change_by_dotted_name() -> None:
    run = changed(RunSpec(), {"distill.unlabelled.share": 0.5, "model.name": "dnn", "seed": 7})
    assert (run.distill.unlabelled.share, run.model.name, run.seed) == (0.5, "dnn", 7)
    with pytest.raises(ValueError, match="not a setting"):
        changed(RunSpec(), {"distill.mode.x": 1})


def test_defaults_are_the_products_own() -> None:
    assert Experiment(name="x", title="X", spec="x").run == RunSpec()
