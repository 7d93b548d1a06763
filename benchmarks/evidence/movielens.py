"""MovieLens-1M as a log with the fields of RecBole's benchmark, for two protocols.

    python -m benchmarks.evidence.movielens --data shared/data/movielens-1m --output FOLDER --protocol random|time

Writes `log.parquet` (user_id, movie_id, rating, timestamp, split), `users.parquet`, `items.parquet` and `spec.yaml`
(for `elec`; its paths start at the folder). GroupLens' terms hold: research use, no redistribution.

Both protocols drop rating 3 (739,012 rows stay), and call 4 and 5 a click.

- `random`: 8:1:1 at random, as RecBole's benchmark of context-aware models, which reports AUC .8998 and LogLoss .3119 for DCNv2
  with embeddings of 16. Its seven fields: user, movie, age, gender, occupation, genres, release year; no zip code.
- `time`: 8:1:1 by time over all ratings, as the file's column `split` says; the same fields.

The file does not know the times of its train part, so no row may read a history: one that only the later windows had could not
be learned. All rows have the same moment, and before that nobody has clicked anything.

Codes of age and occupation become GroupLens' words, which change nothing for a tabular network and are text for an LLM. The
release year is what stands in brackets at the end of a title.
"""

import argparse
import os
import shutil
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from elec import storage
from elec.errors import InputError

SPECS = Path(__file__).parent / "specs"
PROTOCOLS = ("random", "time")
FILES = ("ratings.parquet", "users.dat", "movies.dat")

# As GroupLens' README lists them.
AGES = {1: "under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56 or older"}
OCCUPATIONS = (
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)

_LOG = """
SELECT user_id::VARCHAR AS user_id, movie_id::VARCHAR AS movie_id, rating, TIMESTAMPTZ '2000-04-25 00:00:00+00' AS timestamp,
    split::VARCHAR AS split
FROM read_parquet($ratings)
"""
_USERS = """
SELECT user_id, if(sex = 'F', 'female', 'male') AS gender, map($ages, $age_names)[age::INTEGER] AS age,
    $occupations[occupation::INTEGER + 1] AS occupation
FROM read_csv($users, delim = '::', header = false, quote = '', all_varchar = true,
    names = ['user_id', 'sex', 'age', 'occupation', 'zip_code'])
"""
_ITEMS = r"""
SELECT movie_id, regexp_replace(title, '\s*\(\d{4}\)\s*$', '') AS title,
    nullif(regexp_extract(title, '\((\d{4})\)\s*$', 1), '') AS release_year, genres
FROM read_csv($movies, delim = '::', header = false, quote = '', all_varchar = true, encoding = 'latin-1',
    names = ['movie_id', 'title', 'genres'])
"""


def data_folder(given: str | None) -> Path:
    """The folder with the files: as given, else `$ELEC_MOVIELENS_1M_PARQUET`, else `$ELEC_SHARED_DATA/movielens-1m`.

    Raises:
        InputError: If it lacks a file.
    """
    shared = os.environ.get("ELEC_SHARED_DATA")
    folder = Path(
        given or os.environ.get("ELEC_MOVIELENS_1M_PARQUET") or (f"{shared}/movielens-1m" if shared else "movielens-1m")
    )
    for name in FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name}: no such file; give the folder with {', '.join(FILES)} as --data, "
                "or export ELEC_MOVIELENS_1M_PARQUET=<that folder>"
            )
    return folder


def make(data: Path, output: Path, protocol: str) -> None:
    """Makes the log.

    Args:
        data: The files' folder.
        output: To be written; complete, or absent.
        protocol: One of `PROTOCOLS`.

    Raises:
        InputError: If a file is not what it should be.
        FileExistsError: If the output holds something already.
    """
    wanted = {
        "log": (_LOG, {"ratings": str(data / "ratings.parquet")}),
        "users": (
            _USERS,
            {"users": str(data / "users.dat"), "ages": [*AGES], "age_names": [*AGES.values()], "occupations": [*OCCUPATIONS]},
        ),
        "items": (_ITEMS, {"movies": str(data / "movies.dat")}),
    }
    with duckdb.connect() as database, storage.whole_folder(output) as staging:
        database.execute("SET TimeZone = 'UTC'")
        for name, (query, parameters) in wanted.items():
            try:
                pq.write_table(database.sql(query, params=parameters).to_arrow_table(), staging / f"{name}.parquet")
            except duckdb.Error as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"{data}: its files are not MovieLens-1M's ({reason}); check --data") from None
        shutil.copy(SPECS / f"movielens-1m-{protocol}.yaml", staging / "spec.yaml")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", help="folder with the files; $ELEC_MOVIELENS_1M_PARQUET or $ELEC_SHARED_DATA/movielens-1m when left out"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    given = parser.parse_args()
    try:
        make(data_folder(given.data), given.output, given.protocol)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
