"""The ranker: a user and candidates in, a score for each out; the user is read once, and of items only those not kept yet."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.errors import InputError
from elec.features.lookup_hash import Hashes
from elec.features.raw import Columns, raw_table
from elec.features.store_config import OnlineStoreError
from elec.serving.counted import Counted, CountedPairs
from elec.serving.item_cache import ItemCache, Parts
from elec.serving.item_parts import ROWS, ItemParts, distinct, together
from elec.serving.pairs import Pairs
from elec.serving.predictor import FeatureLookupError, Features, Predictor
from elec.serving.sides import Side
from elec.spec.fields import Entity
from elec.spec.serving import ServingSpec

T = TypeVar("T")

# Items that a new bundle takes over from the one before, and how many at once: a request in between waits for no more.
_TAKEN_OVER = 10_000
_TAKEN_AT_ONCE = 100
_SECONDS_TO_TAKE_OVER = 10.0


@dataclass(frozen=True)
class Ranked:
    """The answer for a user and N candidates.

    Attributes:
        scores_N: float32, probabilities of a click in the order of the candidates.
        unknown_user: The model does not know the user, and scored them as such.
        unknown_items: How many of the candidates the model does not know.
        kept: How many candidates were answered from what is kept.
        degraded: What was missing, and why; empty if all is well.
        seconds: How long `look_up`, `encode` and `model` took.
        records: The raw values of the N records that were scored, where they were asked for.
    """

    scores_N: npt.NDArray[np.float32]
    unknown_user: bool
    unknown_items: int
    kept: int
    degraded: tuple[str, ...]
    seconds: Mapping[str, float]
    records: pa.Table | None = None


class Ranker:
    """Scores the candidates of a user with a bundle's network.

    Of an item its state is kept, the item's part of the network; where the network is not split, its encoded fields and its
    text vector. Threads may share a ranker. A new bundle needs a new one.

    Args:
        predictor: Of the bundle.
        features: Where users and items are looked up.
        settings: How many items are kept and for how long, and what happens when the feature store does not answer.
        clock: Seconds that never go back.

    Raises:
        InputError: If the network reads what no feature store has, or there is no memory for so many items.
    """

    def __init__(
        self,
        predictor: Predictor,
        features: Features,
        settings: ServingSpec,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        manifest = predictor.manifest
        if manifest.network != "vanilla":
            raise InputError(
                f"{manifest.bundle_id}: a {manifest.network} network reads the M-LLM's representation of each record, which no "
                "feature store has; score records with /infer, and rank with the vanilla network's bundle"
            )
        self._manifest = manifest
        self._network = predictor.network
        self._features = features
        self._degrades = settings.without_store == "degrade"
        self._taken_over = min(_TAKEN_OVER, settings.items)
        self._clock = clock
        # Until when the feature store is left alone, and what it said.
        self._store_rests: tuple[float, str] = (-np.inf, "")
        parts = (manifest, predictor.encoder, predictor.semantic_ids)
        self._of_items, self._of_request = Side(*parts, Entity.ITEM), Side(*parts, Entity.USER)
        self._pairs = Pairs(predictor.encoder)
        self._counted = CountedPairs(manifest, predictor.encoder, features)
        self._context = [field.name for field in self._of_request.fields if field.of is Entity.CONTEXT]
        self._parts = ItemParts(self._network, self._of_items, self._counted, self._pairs)
        self.cache = ItemCache(self._parts.widths, capacity=settings.items, seconds=settings.item_seconds, clock=clock)

    def rank(
        self, user: str, items: Sequence[str], context: Mapping[str, Any] | None = None, *, recorded: bool = False
    ) -> Ranked:
        """Scores N items for a user.

        Args:
            user: The user's key; one that is not known is scored as such.
            items: The items' keys.
            context: Values of context fields; one that is left out is missing.
            recorded: Give the records too. What is kept of items is no record, so all of them are looked up.

        Raises:
            FeatureLookupError: If the feature store does not answer, and the settings do not say to do without.
            InputError: If the context has something that is no context field, or a value that cannot be read.
        """
        self._check_context(context or {})
        answer = _Answer()
        there_N, kept = self._find(items, fresh=recorded)
        place_of, place_M = distinct(items, there_N)
        of_user, described = self._look_up(user, list(place_of), answer)
        if described is None:
            # What is too old to be taken while the store answers is better than nothing.
            there_N, kept = self._find(items, fresh=recorded, stale=True)
            place_of, place_M = distinct(items, there_N)
            described = self._of_items.nothing(list(place_of))
            answer.degraded.append(
                f"{np.count_nonzero(there_N)} of {len(items)} items were scored with what was kept, the others without features"
            )
        parts = kept
        if place_of:
            found = self._parts.make(described, answer.lap)
            if not answer.degraded:
                self.cache.put(list(place_of), found)
            parts = together(there_N, kept, found, place_M)
        request = self._of_request.row({**of_user, **(context or {})})
        request_1Q = self._of_request.encode(request)
        hashes = self._pairs.request(request)
        answer.lap("encode")
        counted = self._count(request, parts, answer)
        scores_N = self._score(request_1Q, hashes, self._of_request.vector(of_user), parts, counted)
        answer.lap("model")
        return Ranked(
            scores_N=scores_N,
            unknown_user=not self._of_request.known(request_1Q, request)[0],
            unknown_items=int(len(items) - np.count_nonzero(parts[-1])),
            kept=int(np.count_nonzero(there_N)),
            degraded=tuple(answer.degraded),
            seconds=answer.seconds,
            records=self._records(raw_table(self._of_request.fields, request), described, items, counted) if recorded else None,
        )

    def warm_up(self) -> None:
        """Ranks once, so that the first request is as fast as the next; a feature store that is not there yet is no reason."""
        with contextlib.suppress(FeatureLookupError):
            self.rank("", [""])

    def take_over(self, before: "Ranker") -> int:
        """Keeps the items that another bundle's ranker was asked for most, as far as the feature store gives them in time.

        Returns:
            How many.
        """
        keys = before.cache.hottest(self._taken_over)
        until = self._clock() + _SECONDS_TO_TAKE_OVER
        for start in range(0, len(keys), _TAKEN_AT_ONCE):
            some = keys[start : start + _TAKEN_AT_ONCE]
            if self._clock() > until:
                break
            try:
                described = self._ask(functools.partial(self._features.items, some))
            except FeatureLookupError:
                break
            self.cache.put(some, self._parts.make(described, _Answer().lap))
        return len(self.cache)

    def _find(self, items: Sequence[str], *, fresh: bool, stale: bool = False) -> tuple[npt.NDArray[np.bool_], Parts]:
        """Which of N items there is something kept of, and that; of none if they are to be looked up afresh."""
        if fresh:
            return np.zeros(len(items), np.bool_), self.cache.rows(0)
        return self.cache.find(items, stale=stale)

    def _look_up(self, user: str, keys: list[str], answer: "_Answer") -> tuple[Mapping[str, Any], pa.Table | None]:
        """The values of a user and of M items; None of items that there would have been, had the store answered."""
        try:
            if keys:
                return self._ask(lambda: self._features.user_and_items(user, keys))
            return self._ask(lambda: self._features.user(user)), self._of_items.nothing(())
        except FeatureLookupError as error:
            if not self._degrades:
                raise
            answer.degraded.append(f"{error}; the user's features are left out")
            return {self._manifest.user: user}, None if keys else self._of_items.nothing(())
        finally:
            answer.lap("look_up")

    def _count(self, request: Columns, parts: Parts, answer: "_Answer") -> Counted:
        """The aggregates of the request and each of the N candidates together; none if the bundle has none."""
        if not self._counted.names:
            return {}
        try:
            return self._ask(lambda: self._counted.look_up(request, parts[-3]))
        except FeatureLookupError as error:
            if not self._degrades:
                raise
            answer.degraded.append(f"{error}; the aggregates of user and item together are left out")
            return self._counted.unknown(len(parts[0]))
        finally:
            answer.lap("look_up")

    def _ask(self, look_up: Callable[[], T]) -> T:
        """Asks the feature store. One that took its time to fail is left alone for as long again: requests shall not queue up.

        Raises:
            FeatureLookupError: If it does not answer, or did not a moment ago.
        """
        begun = self._clock()
        until, said = self._store_rests
        if begun < until:
            raise FeatureLookupError(said)
        try:
            return look_up()
        except OnlineStoreError as error:
            now = self._clock()
            self._store_rests = (now + (now - begun), str(error))
            raise FeatureLookupError(str(error)) from error

    def _score(
        self,
        request_1Q: npt.NDArray[np.int64],
        hashes: Mapping[str, Hashes],
        user_1V: npt.NDArray[np.float32] | None,
        parts: Parts,
        counted: Counted,
    ) -> npt.NDArray[np.float32]:
        count = len(parts[0])
        scores_N = np.empty(count, np.float32)
        for start in range(0, count, ROWS):
            some = slice(start, start + ROWS)
            requests_MR = self._pairs.requests(request_1Q, hashes, parts[-2][some])
            if counted:
                requests_MR = self._counted.put(requests_MR, {name: column[some] for name, column in counted.items()})
            if not self._network.split:
                scores_N[some] = self._run(requests_MR, user_1V, parts[0][some], parts[1][some])
                continue
            user_MV = None if user_1V is None else np.repeat(user_1V, len(requests_MR), axis=0)
            scores_N[some] = self._network.join(requests_MR, parts[0][some], user_MV)
        return scores_N

    def _run(
        self,
        requests_MR: npt.NDArray[np.int64],
        user_1V: npt.NDArray[np.float32] | None,
        items_NI: npt.NDArray[np.int64],
        vectors_NV: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float32]:
        """Scores with a network that is not split."""
        slots_NS = np.empty((len(items_NI), requests_MR.shape[1] + items_NI.shape[1]), np.int64)
        slots_NS[:, self._network.request_columns] = requests_MR
        slots_NS[:, self._network.item_columns] = items_NI
        if user_1V is None:
            return self._network.run(slots_NS)
        return self._network.run(slots_NS, np.stack([np.broadcast_to(user_1V, vectors_NV.shape), vectors_NV], axis=1))

    def _records(self, request: pa.Table, described: pa.Table, items: Sequence[str], counted: Counted) -> pa.Table:
        """The records of N items that were looked up, each once."""
        _, place_N = distinct(items, np.zeros(len(items), np.bool_))
        zero_N = np.zeros(len(items), np.int64)
        columns = {
            field.name: described.column(field.name).take(place_N)
            if field.of is Entity.ITEM
            else request.column(field.name).take(zero_N)
            for field in self._manifest.fields
        }
        return pa.table({**columns, **counted})

    def _check_context(self, context: Mapping[str, Any]) -> None:
        unknown = sorted(set(context).difference(self._context))
        if unknown:
            known = ", ".join(self._context) or "this model has none"
            raise InputError(f"context field '{unknown[0]}' is not known; context fields: {known}")


class _Answer:
    """What is noted while an answer is made."""

    def __init__(self) -> None:
        self.degraded: list[str] = []
        self.seconds = {"look_up": 0.0, "encode": 0.0, "model": 0.0}
        self._since = time.perf_counter()

    def lap(self, part: str) -> None:
        """Counts the time since the last lap."""
        now = time.perf_counter()
        self.seconds[part] += now - self._since
        self._since = now
