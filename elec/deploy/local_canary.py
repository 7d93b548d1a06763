"""The canary on this machine: two server processes behind one port, and, where no client asks, golden records as traffic."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx

from elec.deploy.arguments import request_headers
from elec.deploy.figures import Figures
from elec.deploy.local import LocalDeployment
from elec.deploy.router import Router
from elec.errors import BlockedError
from elec.serving.bundle import Bundle
from elec.serving.golden import Golden
from elec.serving.manifest import Manifest
from elec.spec import Spec
from elec.spec.fields import Entity

_SECONDS_MORE = 5.0
_REQUESTS_A_SECOND = 50.0
_CANDIDATES = 32


class LocalCanary:
    """A champion's server beside a challenger's, and a router before both, in a `with` block.

    Args:
        champion: URI of the champion's bundle.
        challenger: The challenger's server, which runs.
        feast_folder: The Feast folder that both read.
        spec: Says which share the challenger is given.
        listener: A bound socket for the clients; the block closes it.
    """

    def __init__(
        self, champion: str, challenger: LocalDeployment, feast_folder: str, spec: Spec, listener: socket.socket
    ) -> None:
        self._challenger = challenger
        self._champion = LocalDeployment(champion, feast_folder, spec.run.serving)
        self._spec = spec
        self._listener = listener
        self._router: Router | None = None

    @property
    def url(self) -> str:
        """Where clients ask."""
        assert self._router is not None
        return self._router.url

    def __enter__(self) -> Self:
        """Starts the champion's server and the router.

        Raises:
            BlockedError: If the champion does not start.
        """
        with contextlib.ExitStack() as started:
            started.callback(self._listener.close)
            try:
                champion = started.enter_context(self._champion)
            except BlockedError as error:
                raise BlockedError(
                    f"canary: {error}; the challenger cannot be compared with it: set run.deploy.canary.share to 0"
                ) from None
            settings = self._spec.run.serving
            self._router = started.enter_context(
                Router(
                    self._listener,
                    champion.url,
                    self._challenger.url,
                    share=self._spec.run.deploy.canary.share,
                    body_bytes=settings.body_bytes,
                    # The server's own limit comes first, and its 503 is an answer.
                    timeout=settings.timeout_seconds + _SECONDS_MORE,
                    seed=self._spec.run.seed,
                )
            )
            self._started = started.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._started.close()

    def figures(self) -> tuple[Figures, Figures]:
        """The champion's and the challenger's figures since the canary began."""
        assert self._router is not None
        champion, challenger = self._router.figures()
        return replace(champion, alive=self._champion.alive), replace(challenger, alive=self._challenger.alive)

    def promote(self) -> None:
        """Gives the challenger all of the traffic, and stops the champion's server."""
        assert self._router is not None
        self._router.share = 100
        self._champion.stop()

    def roll_back(self) -> None:
        """Gives the champion all of the traffic, and stops the challenger's server."""
        assert self._router is not None
        self._router.share = 0
        self._challenger.stop()


@contextlib.contextmanager
def replayed(url: str, bundle: Bundle, champion: Manifest, spec: Spec) -> Iterator[None]:
    """Asks a server, again and again, to rank golden items for golden users, while the `with` block runs.

    Args:
        url: Its address.
        bundle: The challenger's, whose golden records they are.
        champion: The champion's manifest: a context field that it does not know is left out.
        spec: Has the bearer token and the seed.
    """
    requests = _requests(bundle, champion)
    stopped = threading.Event()

    def ask() -> None:
        draw = random.Random(spec.run.seed)  # noqa: S311 - it picks records, and keeps no secret
        headers = request_headers(spec.run.serving)
        with httpx.Client(base_url=url, headers=headers, timeout=spec.run.serving.timeout_seconds, trust_env=False) as client:
            while not stopped.wait(1 / _REQUESTS_A_SECOND):
                # What goes wrong is in the router's figures.
                with contextlib.suppress(httpx.HTTPError):
                    client.post("/rank", json=draw.choice(requests))

    thread = threading.Thread(target=ask, name="replay", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _requests(bundle: Bundle, champion: Manifest) -> list[dict[str, Any]]:
    manifest = bundle.manifest
    golden = Golden.load(bundle.golden, manifest.fields, manifest.vector_size)
    known = {field.name for field in champion.fields}
    context = [field.name for field in manifest.fields if field.of is Entity.CONTEXT and field.name in known]
    records = golden.records.to_pylist()
    items = [item for item in dict.fromkeys(record[manifest.item] for record in records) if item][:_CANDIDATES]
    asked = [_request(record, manifest, items, context) for record in records if record[manifest.user]]
    if not asked or not items:
        raise BlockedError("canary: the golden records have no user or no items to rank with; the champion stays")
    return asked


def _request(record: Mapping[str, Any], manifest: Manifest, items: list[Any], context: list[str]) -> dict[str, Any]:
    return {"user": record[manifest.user], "items": items, "context": {name: record[name] for name in context}}
