"""`POST /rank`: a user and candidates in, scores out.

`{"user": key, "items": [keys], "context": {field: value}}` is answered with the items in order, the most likely click first;
`{"user": key, "candidates": [keys], ...}` with `scores` in the order of the candidates, which is less to send and to read.
`sort` turns either round. A key is text or a whole number. An answer says which bundle gave it, which keys nobody knows, and,
if the feature store did not answer, that and why.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from elec.serving.http.protocol_errors import RequestError
from elec.serving.http.protocol_tensors import is_whole
from elec.serving.ranker import Ranked
from elec.spec.fields import Entity, FieldSpec, Kind

#: Letters of a key: it is kept with what is known of its item, and how many items are kept is bounded by their number alone.
LONGEST_KEY = 1024

_KNOWN = ("user", "items", "candidates", "context", "sort", "id")


class RankRequest(NamedTuple):
    """What is asked.

    Attributes:
        user: The user's key.
        items: The candidates' keys.
        context: Values of context fields; one that is left out is missing.
        sort: Whether the answer is in order of the scores.
        id: Comes back in the answer.
    """

    user: str
    items: list[str]
    context: dict[str, Any]
    sort: bool
    id: str | None


def parse_rank(content: Mapping[str, Any], fields: Sequence[FieldSpec], most_items: int) -> RankRequest:
    """Reads a ranking request.

    Args:
        content: The request.
        fields: Of a record; those of the context may be given.
        most_items: A request may have.

    Raises:
        RequestError: If something is missing, unknown, of the wrong type or too much.
    """
    for name in content:
        if name not in _KNOWN:
            raise RequestError(f"'{name}' is not known here; send user, items or candidates, context, sort and id")
    if "items" in content and "candidates" in content:
        raise RequestError(
            "'items' and 'candidates' are both there; send items for a sorted answer, candidates for plain scores"
        )
    name = "candidates" if "candidates" in content else "items"
    keys, sort, own = content.get(name), content.get("sort", name == "items"), content.get("id")
    if not isinstance(keys, list):
        raise RequestError(f"'{name}' is missing or no list; send the keys of the items to rank")
    if len(keys) > most_items:
        raise RequestError(f"'{name}' has {len(keys):,} candidates; send at most {most_items:,} at once", status=422)
    if not isinstance(sort, bool):
        raise RequestError(f"'sort' is {sort!r}; send true or false, or leave it out")
    if own is not None and not isinstance(own, str):
        raise RequestError(f"'id' is {own!r}; send text, or leave it out")
    return RankRequest(_key("user", content.get("user")), _keys(name, keys), _context(content, fields), sort, own)


def rank_response(asked: RankRequest, ranked: Ranked, bundle_id: str) -> bytes:
    """The answer to a ranking request.

    Args:
        asked: The request.
        ranked: The scores, in the order of the candidates.
        bundle_id: The version that answers.
    """
    answer: dict[str, Any] = {"bundle": bundle_id}
    if asked.id is not None:
        answer["id"] = asked.id
    scores_N = ranked.scores_N
    if asked.sort:
        # Equal scores keep the order that they were given in.
        order_N = np.argsort(-scores_N, kind="stable")
        pairs = zip(order_N.tolist(), scores_N[order_N].tolist(), strict=True)
        answer["items"] = [{"item": asked.items[index], "score": score} for index, score in pairs]
    else:
        answer["scores"] = scores_N
    answer["unknown"] = {"user": bool(ranked.unknown_user), "items": int(ranked.unknown_items)}
    if ranked.degraded:
        answer["degraded"] = list(ranked.degraded)
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _keys(name: str, keys: list[Any]) -> list[str]:
    # All are texts almost always, and none is empty or long.
    if set(map(type, keys)) == {str} and "" not in keys and max(map(len, keys)) <= LONGEST_KEY:
        return keys
    return [_key(name, key) for key in keys]


def _key(name: str, value: Any) -> str:
    if isinstance(value, str) and value:
        if len(value) > LONGEST_KEY:
            raise RequestError(f"'{name}' holds a key of {len(value):,} letters; send at most {LONGEST_KEY:,}")
        return value
    if is_whole(value):
        return str(int(value))
    raise RequestError(f"'{name}' holds {value!r}, which is no key; send text or a whole number")


def _context(content: Mapping[str, Any], fields: Sequence[FieldSpec]) -> dict[str, Any]:
    given = content.get("context")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise RequestError("'context' is not an object; send {field: value}, or leave it out")
    known = {field.name: field for field in fields if field.of is Entity.CONTEXT}
    for name, value in given.items():
        if name not in known:
            listed = ", ".join(known) or "this model has none"
            raise RequestError(f"context field '{name}' is not known; context fields: {listed}")
        if not _fits(known[name].kind, value):
            raise RequestError(
                f"context field '{name}' is {value!r}; the field is {known[name].kind}, send such a value or null"
            )
    return given


def _fits(kind: Kind, value: Any) -> bool:
    if value is None or (isinstance(value, str) and kind is not Kind.NUMERIC):
        return True
    if kind is Kind.MULTIVALUED:
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    return isinstance(value, int | float) and not isinstance(value, bool)
