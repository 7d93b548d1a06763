"""Which cells a table needs, which settings were chosen, and how long the rest will take."""

from collections.abc import Iterable, Sequence
from statistics import median

from elec.evidence.arms import ARMS, Arm
from elec.evidence.cell import Cell, Cells, Result, make_cell
from elec.evidence.experiment import Experiment, changed
from elec.evidence.prepared import Sample
from elec.evidence.search import trials_of
from elec.spec.run import RunSpec

#: The seed of the search; final cells have the seeds 1, 2, ... so that no choice was made on their rows.
SEARCH_SEED = 0

# Guesses for kinds of cells that were never computed: rows a second through one training, on one thread.
_PLAIN_RATE, _PAIR_RATE, _MLLM_RATE = 90_000, 40_000, 75_000


class Plan:
    """The cells of one experiment.

    Args:
        experiment: Whose.
        cells: What is known.
    """

    def __init__(self, experiment: Experiment, cells: Cells) -> None:
        self.experiment, self.cells = experiment, cells
        self._samples: dict[int, Sample] = {}

    def arms(self, table: int) -> list[tuple[Arm, str]]:
        """The arms of a table, each with its base LLM; the baseline is the first."""
        experiment = self.experiment
        own = experiment.run.llm.name
        baseline = (ARMS[experiment.baseline], own)
        if table == 4:
            found = [(ARMS[name], llm) for llm in experiment.llms for name in ("mllm", "gain", "elec")]
        else:
            names = experiment.comparison if table == 2 else experiment.ablation
            found = [(ARMS[name], own) for name in names]
        return list(dict.fromkeys([baseline, *found])) if found else []

    def recipe(self, llm: str) -> RunSpec:
        """The recipe with a base LLM."""
        return changed(self.experiment.run, {"llm.name": llm})

    def teacher_trials(self, llm: str) -> list[Cell]:
        """The trials of the M-LLM of a base LLM."""
        return self._trials(ARMS["mllm"], self.recipe(llm))

    def trials(self, arm: Arm, llm: str) -> list[Cell]:
        """The trials of an arm: with the M-LLM's settings already chosen.

        Raises:
            MissingError: If those trials are not complete.
        """
        if arm.training == "mllm":
            return self.teacher_trials(llm)
        return self._trials(self.searched(arm), self._adapted(arm, llm))

    def searched(self, arm: Arm) -> Arm:
        """The arm whose settings this one takes: its own, unless the experiment says otherwise."""
        return ARMS[self.experiment.borrowed.get(arm.name, arm.name)]

    def chosen(self, arm: Arm, llm: str) -> RunSpec:
        """The settings of the best trial on the validation rows of the search's sample; of equals the first.

        Raises:
            MissingError: If a trial has no result.
        """
        giver = self.searched(arm)
        results = [self._result(cell) for cell in self.trials(arm, llm)]
        best = min(range(len(results)), key=lambda place: self._loss(results[place], giver))
        recipe = self.recipe(llm) if giver.training == "mllm" else self._adapted(arm, llm)
        return trials_of(giver, recipe, self.experiment.search, self.experiment.trials)[best]

    def finals(self, arm: Arm, llm: str) -> list[Cell]:
        """The final cells of an arm, one a seed.

        Raises:
            MissingError: If its settings cannot be chosen yet.
        """
        run = self.chosen(arm, llm)
        return [make_cell(arm, run, self.sample(seed).name, seed=seed, test=True) for seed in self.seeds]

    def stand_ins(self, arm: Arm, llm: str, *, final: bool) -> list[Cell]:
        """Cells that cost as much as those that cannot be named before settings are chosen."""
        recipe = self.recipe(llm)
        if not final:
            return self._trials(self.searched(arm), recipe)
        return [make_cell(arm, recipe, self.sample(seed).name, seed=seed, test=True) for seed in self.seeds]

    @property
    def seeds(self) -> range:
        """Of the final cells."""
        return range(SEARCH_SEED + 1, SEARCH_SEED + 1 + self.experiment.seeds)

    def _trials(self, arm: Arm, recipe: RunSpec) -> list[Cell]:
        settings = trials_of(arm, recipe, self.experiment.search, self.experiment.trials)
        sample = self.sample(SEARCH_SEED).name
        return [make_cell(arm, run, sample, seed=SEARCH_SEED, test=False) for run in settings]

    def _adapted(self, arm: Arm, llm: str) -> RunSpec:
        """The recipe, with the M-LLM's settings that its own search chose where the arm has an M-LLM."""
        recipe = self.recipe(llm)
        if arm.teacher == "none" and self.searched(arm).teacher == "none":
            return recipe
        return recipe.model_copy(update={"adapt": self.chosen(ARMS["mllm"], llm).adapt})

    def _loss(self, result: Result, arm: Arm) -> float:
        found = result.valid[arm.network]
        return -found.auc if self.experiment.metric == "auc" else found.logloss

    def _result(self, cell: Cell) -> Result:
        result = self.cells.read(cell)
        if result is None:
            raise MissingError(cell)
        return result

    def sample(self, seed: int) -> Sample:
        """The sample of a seed."""
        if seed not in self._samples:
            self._samples[seed] = Sample(self.experiment, seed)
        return self._samples[seed]


class MissingError(Exception):
    """A cell that is needed has no result.

    Args:
        cell: Which.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(f"the cell {cell.key} ({cell.kind}) has no result")
        self.cell = cell


class Durations:
    """How long cells take: as those of their kind took, else guessed from the rows.

    Args:
        results: What is known.
        rows: Train rows of the experiments, by name, where they are known.
    """

    def __init__(self, results: Iterable[Result], rows: dict[str, int]) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._rows = rows
        for result in results:
            self._seconds.setdefault(result.cell.kind, []).append(result.cpu_seconds)

    def add(self, kind: str, seconds: float) -> None:
        """Takes in one more."""
        self._seconds.setdefault(kind, []).append(seconds)

    def of(self, cell: Cell) -> float:
        """Seconds of a cell on one thread."""
        known = self._seconds.get(cell.kind)
        if known:
            return median(known)
        rows = self._rows.get(cell.sample.rsplit("-", 2)[0], 100_000)
        if cell.training == "mllm":
            return rows * cell.run.adapt.epochs / _MLLM_RATE + 2
        rate = _PLAIN_RATE if cell.training == "plain" else _PAIR_RATE
        shown = rows * (1 + cell.run.distill.unlabelled.share / 2)
        return shown * cell.run.distill.epochs / rate + 2

    def total(self, cells: Sequence[Cell], workers: int) -> float:
        """Seconds of cells side by side."""
        return sum(map(self.of, cells)) / workers
