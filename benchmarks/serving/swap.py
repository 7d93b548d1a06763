"""A hundred swaps of the bundle under load: no request fails, and no answer mixes two versions.

    python -m benchmarks.serving.swap

The server follows a workspace's champion; two bundles with other weights are promoted turn about. `--fresh` publishes each
promoted bundle under a new id, so that every swap loads one; without it a swap is a rollback to the one that is kept. Every
answer has to name one of the bundles, and to have the scores that this bundle gives to its request.
"""

import argparse
import os
import platform
import tempfile
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import orjson

from benchmarks.serving.load import rank_bodies
from benchmarks.serving.made_service import build, made_spec, publish
from benchmarks.serving.servers import elec
from elec.runs.workspace import Workspace
from elec.serving.bundle import open_bundle
from elec.serving.manifest import MANIFEST, bundle_id
from elec.serving.publish import publish_bundle
from elec.serving.service import Service, open_service
from elec.spec.run import FeastSpec
from elec.spec.serving import ServingSpec
from elec.version import code_version

_SETTINGS = ("watch_seconds=0.05",)
_TOLERANCE = 1e-5
_SECONDS_A_SWAP = 60.0


class Clients:
    """Clients that ask without a pause, and keep every answer.

    Args:
        url: The server's.
        contents: Requests, asked in turn.
        count: Clients.
    """

    def __init__(self, url: str, contents: list[bytes], count: int) -> None:
        self.answers: list[tuple[int, str, list[float]]] = []
        self.failed: Counter[str] = Counter()
        self._url = url
        self._contents = contents
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            at = number
            while not self._stop.is_set():
                at = (at + 1) % len(self._contents)
                try:
                    answer = client.post("/rank", content=self._contents[at])
                except httpx.HTTPError as error:
                    self.failed[type(error).__name__] += 1
                    continue
                if answer.status_code != httpx.codes.OK:
                    self.failed[str(answer.status_code)] += 1
                    continue
                told = orjson.loads(answer.content)
                self.answers.append((at, told["bundle"], told["scores"]))


def main() -> None:
    """Makes two bundles, swaps them under load, checks every answer, and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ids", type=int, default=100_000, help="of the vocabularies together")
    options.add_argument("--swaps", type=int, default=100)
    options.add_argument("--clients", type=int, default=4)
    options.add_argument("--fresh", action="store_true", help="load a bundle at every swap")
    options.add_argument("--output", type=Path, default=Path("benchmarks/serving/results-swap.md"))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="elec-swap-") as scratch:
        folder = Path(scratch)
        spec = made_spec(FeastSpec())
        (folder / "other").mkdir()
        first = build(spec, folder, ids=chosen.ids)
        second = build(spec, folder / "other", ids=chosen.ids // 2 * 2 + 2)
        feast = str(publish(spec, folder, users=2000, items=5000))
        workspace = Workspace(str(folder / "workspace"))
        contents = rank_bodies(2000, 5000)
        expected: dict[str, list[np.ndarray]] = {}
        kinds: dict[Path, Service] = {path: open_service(str(path), feast, ServingSpec()) for path in (first, second)}
        truth = {path: [_scores(service, content) for content in contents] for path, service in kinds.items()}

        def promote(number: int) -> str:
            source = (first, second)[number % 2]
            published = _renamed(source, folder / f"fresh-{number}", number) if chosen.fresh else source
            version = Path(publish_bundle(published, workspace)).name
            expected[version] = truth[source]
            workspace.promote(version, "made")
            return version

        promote(0)
        started = time.perf_counter()
        with elec("", feast, _SETTINGS, workspace.uri) as (url, _), Clients(url, contents, chosen.clients) as clients:
            for number in range(1, chosen.swaps + 1):
                _wait_for(url, promote(number))
            time.sleep(0.5)
        seconds = time.perf_counter() - started
    mixed = sum(
        version not in expected or np.abs(np.asarray(scores) - expected[version][at]).max() > _TOLERANCE
        for at, version, scores in clients.answers
    )
    answered = Counter(version for _, version, _ in clients.answers)
    lines = [
        "| swaps | loaded | answers | bundles that answered | failed | mixed |",
        "|---:|---:|---:|---:|---:|---:|",
        f"| {chosen.swaps} | {chosen.swaps if chosen.fresh else 1} | {len(clients.answers):,} | {len(answered)} "
        f"| {dict(clients.failed) or 0} | {mixed} |",
        "",
        f"`/rank` of 100 candidates by {chosen.clients} clients without a pause, {seconds:.0f} s, {chosen.ids:,} ids; every "
        f"answer compared with the scores of the bundle that it names; {os.cpu_count()} CPUs ({platform.machine()}), "
        f"Python {platform.python_version()}, code {code_version()}.",
    ]
    print("\n".join(lines))
    chosen.output.write_text("\n".join(["# Swaps under load", "", *lines, ""]))


def _scores(service: Service, content: bytes) -> np.ndarray:
    assert service.ranker is not None
    asked = orjson.loads(content)
    return service.ranker.rank(asked["user"], asked["candidates"], asked["context"]).scores_N


def _renamed(bundle: Path, folder: Path, number: int) -> Path:
    """The same bundle under another id: as of another second."""
    folder.mkdir()
    for path in bundle.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(bundle)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    manifest = open_bundle(bundle).manifest
    as_of = manifest.as_of + timedelta(seconds=number)
    renamed = manifest.model_copy(update={"as_of": as_of, "bundle_id": bundle_id(manifest.dataset, as_of, manifest.files)})
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_bytes(renamed.to_bytes())
    return folder


def _wait_for(url: str, version: str) -> None:
    until = time.monotonic() + _SECONDS_A_SWAP
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        while client.get("/v2/models/elec").json()["versions"][0] != version:
            if time.monotonic() > until:
                raise SystemExit(f"{version} did not come into service")
            time.sleep(0.005)


if __name__ == "__main__":
    main()
