"""Random search: the recipe first, then draws that are the same for every arm wherever arms share a setting."""

import hashlib
from typing import Any

import numpy as np

from elec.evidence.arms import Arm
from elec.evidence.experiment import Search, Values, changed
from elec.spec.run import RunSpec

# A trial; a space that is used up gives nothing new.
_ATTEMPTS = 100


def space_of(arm: Arm, search: Search) -> dict[str, Values]:
    """The settings that are searched for an arm; one that makes the arm what it is is not."""
    if arm.training == "mllm":
        return dict(search.teacher)
    space = dict(search.shared)
    if arm.training == "pair":
        space |= search.distilled
    if arm.unlabelled:
        space |= search.unlabelled
    return {name: values for name, values in space.items() if name not in arm.changes}


def trials_of(arm: Arm, recipe: RunSpec, search: Search, trials: int) -> list[RunSpec]:
    """The settings to try.

    Args:
        arm: Whose.
        recipe: The first of them.
        search: The search space.
        trials: How many; fewer come back where the space that arms share is smaller.
    """
    space = space_of(arm, search)
    shared = search.teacher if arm.training == "mllm" else search.shared
    found = [recipe]
    # Of what arms share each draw is a new one, so that every arm is given as many trials, and the same.
    content = recipe.model_dump()
    seen = [tuple(_value(content, name) for name in shared)]
    for attempt in range(_ATTEMPTS * trials):
        if len(found) == trials:
            break
        drawn: dict[str, Any] = {
            name: values[_draw(search.seed, attempt, name, len(values))] for name, values in shared.items()
        }
        if tuple(drawn.values()) in seen:
            continue
        seen.append(tuple(drawn.values()))
        own = {
            name: values[_draw(search.seed, attempt, name, len(values))] for name, values in space.items() if name not in shared
        }
        found.append(changed(recipe, {name: value for name, value in (drawn | own).items() if name in space}))
    return found


def _draw(seed: int, attempt: int, name: str, size: int) -> int:
    # Each setting has a generator of its own, so that what else is searched does not move it.
    own = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return int(np.random.default_rng([seed, attempt, own]).integers(size))


def _value(content: dict[str, Any], name: str) -> Any:
    value: Any = content
    for part in name.split("."):
        value = value[part]
    return tuple(value) if isinstance(value, list) else value
