"""Twice the load that a server sustains: what is accepted is answered in time, the rest is refused, and soon all is as before.

    python -m benchmarks.serving.overload

Requests are sent at random moments at a set rate, whether or not the server keeps up, so that waiting shows. The sustainable
rate is the highest of a ladder at which all answers are 200. Then that rate, twice that rate, and that rate again, where the
answers from five seconds after the overload count.
"""

import argparse
import os
import platform
import tempfile
from pathlib import Path

from benchmarks.serving.load import INFER, bodies, rank_bodies
from benchmarks.serving.made_service import build, made_spec, publish
from benchmarks.serving.servers import Offered, elec, offer, wrk
from elec.spec.run import FeastSpec
from elec.version import code_version

_LADDER = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
_RECOVERY = 5.0


def main() -> None:
    """Makes a bundle, finds what the server sustains, offers twice that, and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ids", type=int, default=1_000_000, help="of the vocabularies together")
    options.add_argument("--seconds", type=float, default=15.0, help="of each load")
    options.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE", help="of the server")
    options.add_argument("--output", type=Path, default=Path("benchmarks/serving/results-overload.md"))
    chosen = options.parse_args()
    lines = [
        "| route | load | requests/s | 200 | 429 | other | p99 ms of the accepted |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(prefix="elec-overload-") as scratch:
        folder = Path(scratch)
        spec = made_spec(FeastSpec())
        bundle = str(build(spec, folder, ids=chosen.ids))
        feast = str(publish(spec, folder, users=2000, items=5000))
        asked = {INFER: bodies(spec, folder, 100), "/rank": rank_bodies(2000, 5000)}
        for path, contents in asked.items():
            with elec(bundle, feast, chosen.settings) as (url, _):
                lines += _measured(url, path, contents, chosen.seconds)
    lines += [
        "",
        f"100 rows or candidates a request, one server process; settings {chosen.settings or 'of the defaults'}; "
        f"{os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, code {code_version()}.",
    ]
    print("\n".join(lines))
    chosen.output.write_text("\n".join(["# Twice the sustainable load", "", *lines, ""]))


def _measured(url: str, path: str, contents: list[bytes], seconds: float) -> list[str]:
    # Few connections, for none of them shall be refused: a refusal costs less than an answer.
    most = wrk(url, path, contents, seconds=4, connections=4).rate
    rate = next(
        (most * share for share in _LADDER if set(offer(url, path, contents, rate=most * share, seconds=4).statuses) == {200}),
        most * _LADDER[-1],
    )
    before = offer(url, path, contents, rate=rate, seconds=seconds)
    over = offer(url, path, contents, rate=2 * rate, seconds=seconds)
    after = offer(url, path, contents, rate=rate, seconds=_RECOVERY + seconds)
    base = before.p99()
    return [
        _line(path, "sustainable", rate, before, before.p99(), base),
        _line(path, "twice", 2 * rate, over, over.p99(), base),
        _line(path, f"sustainable, from {_RECOVERY:g} s after", rate, after, after.p99(since=_RECOVERY), base),
    ]


def _line(path: str, load: str, rate: float, seen: Offered, p99: float, base: float) -> str:
    other = {status: count for status, count in seen.statuses.items() if status not in {200, 429}}
    return (
        f"| `{path}` | {load} | {rate:,.0f} | {seen.statuses[200]:,} | {seen.statuses[429]:,} | {other or 0} "
        f"| {p99:.1f} ({p99 / base:.1f}x) |"
    )


if __name__ == "__main__":
    main()
