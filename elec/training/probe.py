"""Chooses how the dense half of a network is computed: a few steps in each way, on the host and the data of the training.

A faster way is taken where it is faster by a tenth at least and learns the same. What counts as the same:

- The gradient of the first step, over all dense parameters, is off by at most 8% of its length, or of what the next batch
  changes of it where that is longer (a gradient is short where the rows pull in all directions). bfloat16 rounds to 8 bits, by
  0.4% at most; its gradient measures 0.3% off at the usual widths and up to 6% in tiny networks. A wrong derivative is off
  by more.
- The loss of no step is off by more than 0.1%, and the mean of all steps by no more than 0.02%. bfloat16 measures up to
  0.05% and 0.009%. Another order of the rows changes more than that. All ways start from the same weights and see the same
  batches and the same dropout; the learning rate is 1e-3 at most, since Adam's first steps at a large one amplify any rounding.

Timings depend on the host, so a choice may differ between two runs, and its last digits with it. That is why small trainings
are never probed: they run in float32, not compiled, and give the same digits every time. What small is depends on sizes only.
A larger training records its choice, goes on with it when resumed, and a spec can fix it (`run.training.precision`,
`run.training.compile`).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from elec.models.embedding import Embedding
from elec.spec.learning import TrainingSpec
from elec.training.data import Batch
from elec.training.faster import Option, applied
from elec.training.optimiser import Optimiser
from elec.training.state import Parallel

#: Steps in each way; the first ones warm up and are not timed.
PROBE_STEPS = 16
_WARM_UP = 4
_FASTER_BY = 1.1
_LEARNING_RATE = 1e-3
_GRADIENT_OFF = 0.08
_LOSS_OFF, _MEAN_LOSS_OFF = 0.001, 0.0002
#: Floating-point operations from which on bfloat16 is tried: minutes on a few cores.
_LARGE = 1e13
#: And torch.compile, if the rest of the training takes so many seconds: it costs up to a minute and saves 10 to 20%.
_COMPILE_FROM, _COMPILE_SECONDS = 1e14, 400.0


class Choice(BaseModel):
    """How the dense half is computed.

    Attributes:
        precision: Of its matrix products.
        compile: By torch.compile.
        samples_per_second: Of each way that was tried.
        why: In words.
    """

    model_config = ConfigDict(frozen=True)

    precision: Literal["float32", "bfloat16"]
    compile: Literal["on", "off"]
    samples_per_second: dict[str, float] = {}
    why: str

    @property
    def option(self) -> Option:
        """The way itself."""
        return Option(self.precision == "bfloat16", self.compile == "on")

    def pinned(self, training: TrainingSpec) -> TrainingSpec:
        """The same settings with this choice fixed, for a training that has to be computed in the same way."""
        return training.model_copy(update={"precision": self.precision, "compile": self.compile})


def dense_operations(network: nn.Module, samples: int) -> float:
    """Floating-point operations of a training's dense half: a product and a sum a parameter, forward and twice backward."""
    tables = sum(module.table.weight.numel() for module in network.modules() if isinstance(module, Embedding))
    return 6.0 * (sum(parameter.numel() for parameter in network.parameters()) - tables) * samples


def choose(
    networks: Mapping[str, nn.Module],
    step: Callable[[Batch], torch.Tensor],
    optimiser: Optimiser,
    batches: Callable[[], Sequence[Batch]],
    samples: int,
    *,
    parallel: Parallel | None = None,
) -> Choice:
    """Chooses. The networks and the optimiser are afterwards as they were before.

    Args:
        networks: In training mode.
        step: The loss of a batch.
        optimiser: Over the networks; its `training` says what is left to choose.
        batches: Gives at most `PROBE_STEPS` batches of the training.
        samples: Rows that the training will go over at most, all epochs together.
        parallel: The processes that train together; the first one's figures decide for all.
    """
    whole = nn.ModuleDict(networks)
    settings = optimiser.training
    fixed = Option(settings.precision == "bfloat16", settings.compile == "on")
    trials = _Trials(whole, step, optimiser, parallel)
    work = dense_operations(whole, samples)
    if "auto" not in (settings.precision, settings.compile):
        return _choice(fixed, trials, "as run.training says")
    if work < _LARGE:
        return _choice(fixed, trials, "the training is small, so nothing else was tried")
    trials.start(fixed, batches())
    best, reasons = fixed, []
    if settings.precision == "auto":
        best, reason = trials.better(best, best._replace(bfloat16=True))
        reasons.append(reason)
    # All processes have to try the same ways.
    seconds = trials.agreed([samples / trials.rates[str(best)]])[0]
    if settings.compile == "auto" and work >= _COMPILE_FROM and seconds >= _COMPILE_SECONDS:
        best, reason = trials.better(best, best._replace(compiled=True))
        reasons.append(reason)
    elif settings.compile == "auto":
        reasons.append("compiling would take longer than it could save")
    return _choice(best, trials, "; ".join(reasons))


def _choice(option: Option, trials: "_Trials", why: str) -> Choice:
    rates = {name: round(rate, 1) for name, rate in trials.rates.items()}
    precision: Literal["float32", "bfloat16"] = "bfloat16" if option.bfloat16 else "float32"
    return Choice(precision=precision, compile="on" if option.compiled else "off", samples_per_second=rates, why=why)


class _Trials:
    """Runs the same steps in several ways."""

    def __init__(
        self, network: nn.Module, step: Callable[[Batch], torch.Tensor], optimiser: Optimiser, parallel: Parallel | None
    ) -> None:
        self._network, self._step, self._optimiser, self._parallel = network, step, optimiser, parallel
        self._batches: Sequence[Batch] = []
        self.rates: dict[str, float] = {}

    def start(self, reference: Option, batches: Sequence[Batch]) -> None:
        """Tries the way that the others are measured against."""
        self._batches = batches
        self._losses, gradients = self._run(reference)
        self._gradient, following = gradients[0], gradients[-1]
        self._length = max(float(self._gradient.norm()), float((following - self._gradient).norm()))

    def better(self, best: Option, option: Option) -> tuple[Option, str]:
        """The option, if it is faster than the best one so far and learns the same; and why."""
        try:
            losses, gradients = self._run(option)
        except RuntimeError as error:
            # Torch.compile needs a C++ compiler, and does not know every operation.
            return best, f"{option} does not work here ({str(error).splitlines()[0]})"
        off = self._difference(losses, gradients[0])
        gain = self.rates[str(option)] / self.rates[str(best)]
        gain, same = self.agreed([gain, float(not off)])
        off = "" if same else off or "it learns otherwise on the first process"
        if off:
            return best, f"{option} was refused: {off}"
        if gain < _FASTER_BY:
            return best, f"{option} is only {gain:.2f} times as fast"
        return option, f"{option} is {gain:.2f} times as fast and learns the same"

    def agreed(self, numbers: list[float]) -> list[float]:
        """The first process's numbers."""
        return self._parallel.first(numbers) if self._parallel is not None else numbers

    def _run(self, option: Option) -> tuple[npt.NDArray[np.float64], list[torch.Tensor]]:
        """Losses of all steps and gradients of the first two; the rate is noted."""
        losses, seconds, gradients = [], [], []
        with self._optimiser.trial(_LEARNING_RATE), applied(self._network, option):
            for number, batch in enumerate(self._batches):
                started = time.perf_counter()
                torch.manual_seed(number)
                loss = self._step(batch)
                self._optimiser.step(loss, self._parallel)
                # Reading the loss waits for the device, so that the time is that of the whole step.
                losses.append(float(loss.detach()))
                seconds.append(time.perf_counter() - started)
                if number < 2:
                    gradients.append(self._optimiser.gradient.clone())
        timed = seconds[_WARM_UP:] or seconds
        self.rates[str(option)] = len(self._batches[0]) / median(timed)
        return np.array(losses), gradients

    def _difference(self, losses: npt.NDArray[np.float64], gradient: torch.Tensor) -> str:
        """What is not the same as in the reference; nothing if all is."""
        off = float((gradient - self._gradient).norm()) / max(self._length, 1e-12)
        if not off <= _GRADIENT_OFF:
            return f"its first gradient is off by {off:.1%}"
        each = np.abs(losses - self._losses) / np.abs(self._losses)
        if not (each <= _LOSS_OFF).all():
            return f"its loss is off by {each.max():.2%} in a step"
        mean = abs(losses.mean() - self._losses.mean()) / abs(self._losses.mean())
        return f"its loss is off by {mean:.2%}" if not mean <= _MEAN_LOSS_OFF else ""
