"""`python -m elec.serving`: the server as a process of its own, in the serving image and in the local deployment.

It imports neither torch nor the command line.
"""

import argparse
import socket
import sys

from elec.errors import ElecError
from elec.process import die_with


def main(arguments: list[str] | None = None) -> int:
    """Serves a bundle.

    Args:
        arguments: Of the command line; the process's own when left out.

    Returns:
        The exit code.
    """
    given = parser().parse_args(arguments)
    if given.parent is not None:
        die_with(given.parent)
    from elec.serving.server import bind
    from elec.serving.start import serve_bundle

    try:
        listener = bind(given.host, given.port) if given.fd is None else socket.socket(fileno=given.fd)
        with listener:
            serve_bundle(given.bundle, listener, given.feast)
    except ElecError as error:
        print(f"elec: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    known = argparse.ArgumentParser(prog="python -m elec.serving", description="Serve a bundle.")
    known.add_argument("--bundle", required=True, help="folder or s3:// URI")
    known.add_argument("--host", default="127.0.0.1")
    known.add_argument("--port", type=int, default=8080, help="0 for any that is free")
    known.add_argument("--feast", default="", help="Feast folder of a workspace, for /rank")
    known.add_argument("--fd", type=int, help="a bound socket that the parent process hands over")
    known.add_argument("--parent", type=int, help="process without which this one has no purpose")
    return known


if __name__ == "__main__":
    sys.exit(main())
