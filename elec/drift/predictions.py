"""Is what the champion scores still like what it was trained on? The prediction log against the champion's reference.

This is the check for the days in which labels are still on their way. It knows the fields and the scores: no clicks, and no
volume, for the log is a sample, and of candidates rather than impressions.
"""

# ruff: noqa: S608 - what goes into the SQL is names of the spec's pattern, and escaped paths

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from elec.drift.histograms import Profile
from elec.drift.profile import profile_fields, profile_rows
from elec.drift.verdict import DriftVerdict, check
from elec.drift.window import connection, quoted
from elec.errors import InputError
from elec.serving.manifest import Manifest
from elec.serving.telemetry.prediction_files import PATTERN
from elec.serving.telemetry.prediction_log import own_columns
from elec.spec import Entity
from elec.spec.run import DriftSpec

# A server may remove the oldest files while they are read.
_TRIES = 5


def profile_predictions(folder: Path, manifest: Manifest, reference: Profile | None = None) -> Profile:
    """Profiles the logged predictions of a bundle.

    The fields of the item count in every row; those of the user and the context count once a request, for all candidates of a
    request share them: a hundred candidates are one observation of a user. Predictions that were made without the feature store
    do not count: what is missing there is no news of the world.

    Args:
        folder: Of the prediction log.
        manifest: Of the bundle whose predictions count.
        reference: The profile to compare with later, as `logged_part` gives it.

    Returns:
        The profile; its label rate is the mean score.

    Raises:
        InputError: If the log has no prediction of that bundle, or only such as were made without the feature store.
    """
    own = {name: quoted(column) for name, column in own_columns(manifest.fields).items()}
    keys = {manifest.user, manifest.item}
    # Aggregates have no profile: they are of the training frame, not of the log.
    compared = [field for field in manifest.fields if reference is None or field.name in reference.fields]
    of_items = [field for field in compared if field.of in {Entity.ITEM, Entity.PAIR}]
    of_request = [field for field in compared if field not in of_items]
    with connection() as duck, TemporaryDirectory(prefix="elec-window-") as scratch:
        file = _copy(duck, folder, manifest, Path(scratch, "window.parquet"))
        if file is None:
            raise InputError(
                f"{folder}: no logged predictions of {manifest.bundle_id} there; serve it with --prediction-log FOLDER and "
                "--set log_share=0.01, say"
            )
        window = f"read_parquet('{file}')"
        # A row's number is the content's, so that the same log gives the same profile.
        one_a_row = f"hash({own['request_id']}, {own['time']}, {quoted(manifest.user)}, {quoted(manifest.item)}) AS row_id, *"
        shared = ", ".join([own["request_id"], *(quoted(field.name) for field in of_request)])
        one_a_request = f"hash({shared}) AS row_id, * FROM (SELECT DISTINCT {shared} FROM {window})"
        duck.execute(f"CREATE VIEW joined AS SELECT {one_a_request}")
        fields = profile_fields(duck, of_request, keys, reference)
        duck.execute(
            f"CREATE OR REPLACE VIEW joined AS SELECT {one_a_row}, {own['score']} AS label, {own['time']} AS event_timestamp "
            f"FROM {window}"
        )
        fields |= profile_fields(duck, of_items, keys, reference)
        in_order = {field.name: fields[field.name] for field in compared}
        return profile_rows(duck, manifest.dataset, in_order, reference)


def check_predictions(folder: Path, manifest: Manifest, reference: Profile | None, settings: DriftSpec) -> DriftVerdict:
    """Compares the logged predictions of a bundle with the window that it was trained on.

    Args:
        folder: Of the prediction log.
        manifest: Of the bundle.
        reference: Its profile, `read_reference(Workspace.reference(bundle_id))`.
        settings: The limits.

    Raises:
        InputError: If the log has no prediction of that bundle.
    """
    part = logged_part(reference, manifest) if reference is not None else None
    return check(profile_predictions(folder, manifest, part), part, settings, predictions=True)


def logged_part(reference: Profile, manifest: Manifest) -> Profile:
    """A reference without the fields that a log does not have: those that only the LLM reads."""
    logged = {field.name for field in manifest.fields}
    return reference.model_copy(update={"fields": {name: kept for name, kept in reference.fields.items() if name in logged}})


def _copy(duck: Any, folder: Path, manifest: Manifest, file: Path) -> Path | None:
    """The predictions of a bundle in one file; None if there are none."""
    import duckdb

    own = own_columns(manifest.fields)
    version = quoted(own["version"])
    for tried in range(_TRIES):
        # A hidden file is not one yet.
        files = sorted(str(path) for path in folder.glob(PATTERN))
        if not files:
            return None
        listed = ", ".join("'" + name.replace("'", "''") + "'" for name in files)
        try:
            logged = f"read_parquet([{listed}], union_by_name=true)"
            columns = {name for name, *_ in duck.execute(f"DESCRIBE SELECT * FROM {logged}").fetchall()}
            # Older logs do not say so.
            degraded = f"coalesce({quoted(own['degraded'])}, false)" if own["degraded"] in columns else "false"
            (rows,) = duck.execute(
                f"COPY (SELECT * FROM {logged} WHERE {version} = ? AND NOT {degraded}) TO '{file}' (FORMAT parquet)",
                [manifest.bundle_id],
            ).fetchone()
            if not rows:
                (left_out,) = duck.execute(
                    f"SELECT count(*) FROM {logged} WHERE {version} = ?", [manifest.bundle_id]
                ).fetchone()
        except duckdb.IOException:
            if tried == _TRIES - 1:
                raise
            continue
        if not rows and left_out:
            raise InputError(
                f"{folder}: all {left_out:,} logged predictions of {manifest.bundle_id} were made while the feature store did "
                "not answer, and say nothing of the world; wait for others"
            )
        return file if rows else None
    return None
