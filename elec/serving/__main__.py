"""`python -m elec.serving`: the server as a process of its own, in the serving image and in the local deployment.

It imports neither torch nor the command line.
"""

import argparse
import socket
import sys

from elec.errors import ElecError, InputError
from elec.process import die_with


def main(arguments: list[str] | None = None) -> int:
    """Serves a bundle, or a workspace's champion.

    Args:
        arguments: Of the command line; the process's own when left out.

    Returns:
        The exit code.
    """
    given = parser().parse_args(arguments)
    if given.parent is not None:
        die_with(given.parent)
    from elec.serving.http.server import bind
    from elec.serving.launch import Launch, launch
    from elec.serving.settings import read_settings

    try:
        if not given.bundle and not given.workspace:
            raise InputError("nothing to serve; give --bundle URI, or --workspace URI for its champion")
        asked = Launch(
            bundle=given.bundle,
            workspace=given.workspace,
            feast=given.feast,
            settings=read_settings(given.settings),
            prediction_log=given.prediction_log,
            access_log=given.access_log,
        )
        listener = bind(given.host, given.port) if given.fd is None else socket.socket(fileno=given.fd)
        with listener:
            launch(asked, listener)
    except ElecError as error:
        print(f"elec: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        # Ctrl-C while it is still loading.
        return 0
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    known = argparse.ArgumentParser(prog="python -m elec.serving", description="Serve a bundle.")
    known.add_argument("--bundle", default="", help="folder or s3:// URI; left out, the workspace's champion is followed")
    known.add_argument("--workspace", default="", help="folder or s3:// URI, where the champion stands")
    known.add_argument("--host", default="127.0.0.1")
    known.add_argument("--port", type=int, default=8080, help="0 for any that is free")
    known.add_argument("--feast", default="", help="Feast folder of a workspace, for /rank")
    known.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="a setting of run.serving"
    )
    known.add_argument("--prediction-log", default="", metavar="FOLDER", help="where a share (log_share) of predictions goes")
    known.add_argument("--access-log", type=float, default=0.0, metavar="SHARE", help="of requests, logged: 0 none, 1 all")
    known.add_argument("--fd", type=int, help="a bound socket that the parent process hands over")
    known.add_argument("--parent", type=int, help="process without which this one has no purpose")
    return known


if __name__ == "__main__":
    sys.exit(main())
