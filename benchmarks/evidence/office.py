"""Amazon Office Products as a log of impressions: clicks from the files, and negatives by a documented rule.

    python -m benchmarks.evidence.office --data shared/data/amazon-office-2018 --output FOLDER --seed 1 [--new-items]

Writes `log.parquet` (user_id, item_id, label, timestamp, split), `items.parquet` (item_id, title, brand, description),
`spec.yaml` (for `elec`; its paths start at the folder) and `made.json` (what was done and counted).

**Windows.** `valid` and `test` are the rows of `Office_Products_valid.csv` and `_test.csv`: the next item of a user, the last
two tenths of the log in the order of time. `train` is what a user had before the first of these rows, the history in that row
(the last ten items at most: the files cut it there). Of a history of one item alone the files do not tell the window; it counts
as train, and `made.json` says how many users that concerns at most.

**Clicks.** The first click of a user on an item; a repeated one is left out, since negatives are never items that the user has
clicked, and a pair seen before would always be a click.

**Negatives.** `--negatives` (4) for every click, dealt inside its window (`negatives.py`), anew for every seed; never an item
that the user clicked in this window or before it. A later click is not known yet, and may be dealt as a negative before.
`--exponent` (1) below 1 lets popularity say something.

**Times.** The files have none. The n-th last item of a user's history counts as n hours before valid opens; the m-th row of
valid or test as m minutes after the window opens. So the order of each user's clicks and of the windows is the files' own. A
negative has its click's time.

**New items** (`--new-items`). A share (0.2) of all items, drawn by the seed, comes out after training: their train clicks are
taken away before negatives are dealt, so no id and no history of train holds them; valid and test keep them.
"""

import argparse
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.evidence.negatives import Int64, deal, pool
from benchmarks.evidence.office_files import WINDOWS, read_clicks, read_items
from elec import storage
from elec.errors import InputError

SPECS = Path(__file__).parent / "specs"
OPENS = (datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 1, 8, tzinfo=UTC))


@dataclass(frozen=True)
class Choices:
    """How the log is made.

    Attributes:
        seed: Of the negatives and the new items.
        negatives: For every click.
        exponent: How popular negatives are; see `negatives.pool`.
        new_items: Share of all items that training never sees; 0 for the files' own new items only.
    """

    seed: int
    negatives: int = 4
    exponent: float = 1.0
    new_items: float = 0.0

    def check(self) -> None:
        """Raises InputError if a choice is impossible."""
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: below 0; give 0 or more")
        if self.negatives < 1:
            raise InputError(f"--negatives {self.negatives}: a log needs rows without a click; give 1 or more")
        if not 0 <= self.exponent <= 1:
            raise InputError(f"--exponent {self.exponent}: outside 0 to 1; 1 deals each item as often as it was clicked")
        if not 0 <= self.new_items < 1:
            raise InputError(f"--new-items {self.new_items}: not a share; give 0 to less than 1")


def data_folder(given: str | None) -> Path:
    """The folder with the files: as given, else `$ELEC_SHARED_DATA/amazon-office-2018`.

    Raises:
        InputError: If neither is there.
    """
    shared = os.environ.get("ELEC_SHARED_DATA")
    folder = Path(given) if given else Path(shared) / "amazon-office-2018" if shared else None
    if folder is None or not folder.is_dir():
        raise InputError(
            f"--data '{folder or ''}': no such folder; give the folder with Office_Products_valid.csv, "
            "or export ELEC_SHARED_DATA=<the folder above it>"
        )
    return folder


def make(data: Path, output: Path, choices: Choices) -> dict[str, object]:
    """Makes the log.

    Args:
        data: The files' folder.
        output: To be written; complete, or absent.
        choices: How.

    Returns:
        What `made.json` holds.

    Raises:
        InputError: If a file is missing or is not what it should be.
        FileExistsError: If the output holds something already.
    """
    choices.check()
    clicks = read_clicks(data)
    items = read_items(data)
    draw = np.random.default_rng([2018, choices.seed])
    window = clicks["part"].to_numpy()
    user_names = clicks["user_id"].combine_chunks().dictionary_encode()
    users, item_of, place = (
        user_names.indices.to_numpy().astype(np.int64),
        clicks["item_id"].to_numpy(),
        clicks["place"].to_numpy(),
    )
    count = len(items)
    alone = int((np.bincount(users[window == 0]) == 1).sum())
    new = draw.choice(count, round(choices.new_items * count), replace=False)
    kept = (window > 0) | ~np.isin(item_of, new)
    window, users, item_of, place = window[kept], users[kept], item_of[kept], place[kept]

    parts = []
    undealt = 0
    for number, name in enumerate(WINDOWS):
        here = window == number
        owned = np.unique((users * count + item_of)[window <= number])
        shown = pool(item_of[here], choices.negatives, choices.exponent, draw)
        dealt = deal(users[here], shown, owned, count, draw)
        undealt += int((dealt < 0).sum())
        parts.append(_rows(name, users[here], item_of[here], dealt, _times(number, place[here]), user_names.dictionary))
    log = pa.concat_tables(parts)
    made = _made(choices, log, window, item_of, undealt) | {"histories_of_one_item": alone}
    with storage.whole_folder(output) as staging:
        pq.write_table(log, staging / "log.parquet")
        pq.write_table(items, staging / "items.parquet")
        shutil.copy(SPECS / "office.yaml", staging / "spec.yaml")
        (staging / "made.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    return made


def _times(number: int, place: Int64) -> np.ndarray:
    """Microseconds since 1970 [N]; `place` counts back from the window's opening in train, on from it in the others."""
    step = timedelta(hours=-1) if number == 0 else timedelta(minutes=1)
    opens = int(OPENS[number].timestamp() * 1_000_000)
    return opens + place * int(step.total_seconds() * 1_000_000)


def _rows(name: str, users: Int64, items: Int64, dealt: Int64, times: np.ndarray, names: pa.Array) -> pa.Table:
    """Each click, then its negatives: [N * (1 + k)] rows, without the places that could not be dealt."""
    each = 1 + dealt.shape[1]
    shown = np.column_stack([items, dealt]).reshape(-1)
    label = np.tile(np.arange(each) == 0, len(items))
    table = pa.table(
        {
            "user_id": names.take(pa.array(np.repeat(users, each))),
            "item_id": pa.array(shown),
            "label": pa.array(label.astype(np.int8)),
            "timestamp": pa.array(np.repeat(times, each), pa.timestamp("us", tz="UTC")),
            "split": pa.array(np.full(len(shown), name)),
        }
    )
    return table.filter(pa.array(shown >= 0))


def _made(choices: Choices, log: pa.Table, window: np.ndarray, items: Int64, undealt: int) -> dict[str, object]:
    known = np.unique(items[window == 0])
    splits, labels = log["split"].to_numpy(), log["label"].to_numpy()
    return {
        "seed": choices.seed,
        "negatives": choices.negatives,
        "exponent": choices.exponent,
        "new_items": choices.new_items,
        "places_without_a_negative": undealt,
        "splits": {
            name: {
                "rows": int((splits == name).sum()),
                "clicks": int((window == number).sum()),
                "label_rate": round(float(labels[splits == name].mean()), 4),
                "items": len(np.unique(items[window == number])),
                "clicks_on_items_unseen_in_train": round(float(1 - np.isin(items[window == number], known).mean()), 4),
            }
            for number, name in enumerate(WINDOWS)
        },
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with the files; $ELEC_SHARED_DATA/amazon-office-2018 when left out")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--negatives", type=int, default=4)
    parser.add_argument("--exponent", type=float, default=1.0, help="of the popularity of negatives, 0 to 1")
    parser.add_argument("--new-items", type=float, nargs="?", const=0.2, default=0.0, metavar="SHARE")
    given = parser.parse_args()
    choices = Choices(given.seed, given.negatives, given.exponent, given.new_items)
    try:
        made = make(data_folder(given.data), given.output, choices)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    print(json.dumps(made, indent=2))


if __name__ == "__main__":
    main()
