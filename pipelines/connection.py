"""A connection to a Kubeflow Pipelines server, and its refusals in one sentence.

The client of Kubeflow Pipelines asks for the server's health while it is made, tries five times, five seconds apart, and
forgets why. So the server is asked here first, once, with a time limit.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

from elec.errors import InputError, RunFailedError

#: A bearer token for the server, if it asks for one.
TOKEN = "ELEC_KFP_TOKEN"  # noqa: S105 - the variable's name
#: Of the user, on a server with several.
NAMESPACE = "ELEC_KFP_NAMESPACE"

_SECONDS = (10, 30)  # to connect, to answer


@dataclass(frozen=True)
class Server:
    """A server that has answered.

    Attributes:
        host: Its address.
        client: The `kfp.Client`.
        namespace: The user's; none on a server for one user.
    """

    host: str
    client: Any
    namespace: str | None

    def page(self, path: str) -> str:
        """The address of a page of the user interface, which may be elsewhere than the API (`$KF_PIPELINES_UI_ENDPOINT`)."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self.host).rstrip('/')}/#/{path}"


def connect(host: str, *, namespace: str = "", token: str = "") -> Server:
    """Connects to a server.

    Args:
        host: Its address, with `http://` or `https://`.
        namespace: The user's, on a server with several; `$ELEC_KFP_NAMESPACE` if left out.
        token: A bearer token; `$ELEC_KFP_TOKEN` if left out.

    Raises:
        InputError: If the address is none, nothing answers there, the certificate is not trusted, or we are refused.
    """
    from kfp import Client

    address = host.strip().rstrip("/")
    parsed = urlparse(address)
    if parsed.scheme not in {"http", "https"} or not parsed.hostname:
        raise InputError(f"--host '{host}': not the address of a server; write it like http://localhost:8888")
    token = token or os.environ.get(TOKEN, "")
    namespace = namespace or os.environ.get(NAMESPACE, "")
    authority = os.environ.get("SSL_CERT_FILE") or None
    with answers(address), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        several_users = _ask(address, token, authority)
        client = Client(host=address, namespace=namespace, existing_token=token or None, ssl_ca_cert=authority)
        # What an earlier `set_user_namespace` has left in the user's home counts too.
        namespace = namespace or client.get_user_namespace()
    if several_users and not namespace:
        raise InputError(f"--host {address}: this server has several users; set {NAMESPACE} to the namespace that is yours")
    return Server(host=address, client=client, namespace=namespace or None)


@contextmanager
def answers(host: str) -> Iterator[None]:
    """Turns what a server, or the way to it, refuses into one sentence.

    Raises:
        InputError: If nothing answers, the certificate is not trusted, or the server refuses what was asked.
        RunFailedError: If the server has failed.
    """
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

    try:
        yield
    except ApiException as error:
        raise _refusal(host, error) from None
    except HTTPError as error:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        if isinstance(cause, SSLError):
            raise InputError(
                f"--host {host}: no trusted TLS connection ({_short(cause)}); set SSL_CERT_FILE to the certificate "
                "of its authority, or write http:// if it has none"
            ) from None
        raise InputError(
            f"--host {host}: nothing answers there ({_short(cause)}); check the address and the way to it"
        ) from None


def _ask(host: str, token: str, authority: str | None) -> bool:
    """Asks for the server's health, once; says whether it has several users."""
    from kfp_server_api import ApiClient, Configuration, HealthzServiceApi
    from urllib3 import Retry

    settings = Configuration(host=host)
    # Once, but after the redirections to a log-in page.
    settings.retries = Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)
    if authority:
        settings.ssl_ca_cert = authority
    if token:
        settings.api_key["authorization"] = token
        settings.api_key_prefix["authorization"] = "Bearer"
    api = HealthzServiceApi(ApiClient(settings))
    health, _, headers = api.healthz_service_get_healthz_with_http_info(_request_timeout=_SECONDS)
    kind = headers.get("content-type", "")
    if "json" not in kind:
        raise InputError(
            f"--host {host}: a page answers, not the API of Kubeflow Pipelines ({kind or 'no content type'}); for a log-in "
            f"page set {TOKEN}, or forward the port of the service ml-pipeline"
        )
    return bool(health.multi_user)


def _refusal(host: str, error: Any) -> InputError | RunFailedError:
    if error.status == 401:
        return InputError(f"--host {host}: the server asks who you are (401); set {TOKEN} to a valid token")
    if error.status == 403:
        return InputError(
            f"--host {host}: the server does not allow this (403: {_message(error)}); check {TOKEN} and {NAMESPACE}"
        )
    if error.status == 404:
        return InputError(f"--host {host}: no such thing there (404: {_message(error)}); is it Kubeflow Pipelines 2, its API?")
    if error.status < 500:
        return InputError(f"--host {host}: the server refuses ({error.status}: {_message(error)}); correct what it names")
    return RunFailedError(f"{host}: the server has failed ({error.status}: {_message(error)}); see its log and try again")


def _message(error: Any) -> str:
    """What the server says: the message of its JSON answer, or the HTTP reason."""
    try:
        body = json.loads(error.body)
    except (TypeError, ValueError):
        return _short(error.reason or "no reason given")
    if not isinstance(body, dict):
        return _short(error.reason or "no reason given")
    return _short(body.get("error_message") or body.get("message") or body.get("error") or error.reason)


def _short(text: object, length: int = 200) -> str:
    words = " ".join(str(text).split())
    return words if len(words) <= length else words[: length - 3] + "..."
