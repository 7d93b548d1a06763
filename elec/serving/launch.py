"""From the words of a command line to a server that answers."""

import contextlib
import logging
import socket
import sys
from dataclasses import dataclass, field

from elec.runs.workspace import Workspace
from elec.serving.champion import champion_of, feast_of
from elec.serving.http.admission import Admission
from elec.serving.http.app import create_app
from elec.serving.http.server import serve
from elec.serving.service import Service, Serving, open_service
from elec.serving.start import leave_pandas_out
from elec.serving.telemetry import logs
from elec.serving.telemetry.metrics import Metrics
from elec.serving.telemetry.prediction_log import PredictionLog
from elec.serving.watch import ChampionWatch
from elec.spec.serving import ServingSpec


@dataclass(frozen=True)
class Launch:
    """What a server serves.

    Attributes:
        bundle: Its URI; empty for the workspace's champion, which is followed.
        workspace: Where the champion stands; empty if there is a bundle.
        feast: The Feast folder; empty for the workspace's own, if there is one.
        settings: The bounds.
        prediction_log: Folder of the prediction log; empty for none.
        access_log: Share of requests that have a line in the log.
    """

    bundle: str = ""
    workspace: str = ""
    feast: str = ""
    settings: ServingSpec = field(default_factory=ServingSpec)
    prediction_log: str = ""
    access_log: float = 0.0


def launch(asked: Launch, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        asked: What.
        listener: A bound socket.

    Raises:
        InputError: If the bundle is refused, there is no champion, the Feast folder does not have its feature service, or a
            setting does not fit this machine.
    """
    leave_pandas_out()
    logs.configure(logging.WARNING, access=asked.access_log > 0)
    settings = asked.settings
    feast = asked.feast or (feast_of(asked.workspace) if asked.workspace else "")

    def load(uri: str) -> Service:
        return open_service(uri, feast, settings)

    admission, metrics = Admission(settings.queue), Metrics()
    with contextlib.ExitStack() as stack:
        service = load(asked.bundle or champion_of(asked.workspace))
        prediction_log = None
        if asked.prediction_log:
            prediction_log = stack.enter_context(PredictionLog(asked.prediction_log, settings, service.manifest))

        def swapped(service: Service) -> None:
            metrics.set_bundle(service.manifest, service.manifest.precision.chosen)
            if prediction_log is not None:
                prediction_log.serves(service.manifest)

        swapped(service)
        serving = Serving(service, swapped)
        if not asked.bundle and settings.watch_seconds:
            workspace = Workspace(asked.workspace)
            stack.enter_context(ChampionWatch(serving, workspace, load, settings.watch_seconds, metrics.error))
        access = logs.AccessLog(asked.access_log)
        app = create_app(serving, settings, admission=admission, metrics=metrics, prediction_log=prediction_log, access=access)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host

        def ready() -> None:
            print(f"{service.version} on http://{shown}:{port} (Ctrl-C stops it)", file=sys.stderr, flush=True)

        serve(app, listener, settings, admission, ready)
