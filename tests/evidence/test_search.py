"""The search: the recipe first, and the same draws for every arm."""

from elec.evidence.arms import ARMS
from elec.evidence.experiment import Search
from elec.evidence.search import space_of, trials_of
from elec.spec.run import RunSpec

SEARCH = Search(
    shared={"distill.learning_rate": tuple(10.0**-power for power in range(1, 9)), "model.dropout": (0.0, 0.1, 0.2, 0.3)},
    distilled={"distill.alpha": (0.0, 0.1, 0.2), "distill.score_weight": (0.5, 1.0, 2.0)},
    unlabelled={"distill.unlabelled.share": (0.5, 1.0)},
    teacher={"adapt.dropout": (0.1, 0.2)},
)


def test_the_recipe_is_the_first_trial() -> None:
    recipe = RunSpec()
    assert trials_of(ARMS["elec"], recipe, SEARCH, 1) == [recipe]
    found = trials_of(ARMS["elec"], recipe, SEARCH, 6)
    assert found[0] == recipe
    assert len(found) == 6
    assert found == trials_of(ARMS["elec"], recipe, SEARCH, 6)
    assert found[:3] == trials_of(ARMS["elec"], recipe, SEARCH, 3)


def test_arms_share_the_draws_of_what_they_share() -> None:
    def shared(name: str) -> list[tuple[float, float]]:
        runs = trials_of(ARMS[name], RunSpec(), SEARCH, 8)
        return [(run.distill.learning_rate, run.model.dropout) for run in runs]

    assert shared("dcnv2") == shared("elec") == shared("unlabelled") == shared("vectors_random")


def test_what_makes_an_arm_is_not_searched() -> None:
    assert "distill.alpha" not in space_of(ARMS["no_mse"], SEARCH)
    assert "distill.score_weight" not in space_of(ARMS["no_clid"], SEARCH)
    assert "distill.unlabelled.share" not in space_of(ARMS["elec"], SEARCH)
    assert set(space_of(ARMS["mllm"], SEARCH)) == {"adapt.dropout"}
    assert set(space_of(ARMS["dcnv2"], SEARCH)) == set(SEARCH.shared)


def test_a_small_space_is_not_tried_twice() -> None:
    assert len(trials_of(ARMS["mllm"], RunSpec(), SEARCH, 50)) == 3
