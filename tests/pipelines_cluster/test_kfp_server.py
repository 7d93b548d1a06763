"""The real client of Kubeflow Pipelines, over HTTP, against a server on loopback."""

import re
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from kfp import compiler, dsl

from elec.errors import InputError, RunFailedError
from pipelines.server import schedule, submit

NIGHTLY = "0 0 3 * * *"
SELF_SIGNED = ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]


@dsl.component(base_image="elec-training:1", install_kfp_package=False)
def greet(name: str) -> str:
    return name


def compiled(folder: Path, default: str = "you") -> Path:
    @dsl.pipeline(name="greeting")
    def greeting(name: str = default) -> None:
        greet(name=name)

    path = folder / "greeting.yaml"
    compiler.Compiler().compile(greeting, str(path))
    return path


@pytest.fixture
def package(tmp_path):
    return compiled(tmp_path)


def test_submit_runs_the_version_that_it_uploaded(kfp_server, package, capfd):
    url = submit(kfp_server.host, package, arguments={"name": "all"}, experiment="nights", run_name="first")

    (run,) = kfp_server.runs
    (pipeline,), (version,), (experiment,) = kfp_server.pipelines, kfp_server.versions, kfp_server.experiments
    assert url == f"{kfp_server.host}/#/runs/details/{run['run_id']}"
    assert run["pipeline_version_reference"] == {
        "pipeline_id": pipeline["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    assert run["runtime_config"]["parameters"] == {"name": "all"}
    assert (run["display_name"], run["experiment_id"]) == ("first", experiment["experiment_id"])
    assert (pipeline["display_name"], experiment["display_name"]) == ("greeting", "nights")
    assert package.read_bytes() in version["content"]
    # The client prints links of its own; the caller prints the answer.
    assert capfd.readouterr() == ("", "")


def test_the_same_content_is_uploaded_once_and_another_content_is_another_version(kfp_server, tmp_path):
    submit(kfp_server.host, compiled(tmp_path))
    submit(kfp_server.host, compiled(tmp_path))
    assert (len(kfp_server.pipelines), len(kfp_server.versions), len(kfp_server.runs)) == (1, 1, 2)
    submit(kfp_server.host, compiled(tmp_path, default="me"))
    assert (len(kfp_server.pipelines), len(kfp_server.versions), len(kfp_server.experiments)) == (1, 2, 1)
    assert len({run["display_name"] for run in kfp_server.runs}) == 3


def test_a_version_is_named_by_the_code_and_the_content(kfp_server, package, monkeypatch):
    monkeypatch.setattr("pipelines.server.image_tag", lambda: "abc123")
    submit(kfp_server.host, package)
    monkeypatch.setattr("pipelines.server.image_tag", lambda: "def456")
    submit(kfp_server.host, package)
    first, second = (version["display_name"] for version in kfp_server.versions)
    assert re.fullmatch(r"abc123-[0-9a-f]{12}", first)
    assert second == first.replace("abc123", "def456")


def test_a_known_version_is_found_on_a_later_page(kfp_server, tmp_path):
    kfp_server.page_size = 1
    for default in ("a", "b", "a"):
        submit(kfp_server.host, compiled(tmp_path, default))
    assert len(kfp_server.versions) == 2


def test_schedule_asks_for_one_run_at_a_time_without_catch_up(kfp_server, package):
    url = schedule(kfp_server.host, package, cron=" 0  0 3 * * * ", arguments={"name": "all"})

    (job,) = kfp_server.recurring_runs
    assert url == f"{kfp_server.host}/#/recurringrun/details/{job['recurring_run_id']}"
    assert (job["max_concurrency"], job["no_catchup"], job["mode"]) == (1, True, "ENABLE")
    assert job["trigger"] == {"cron_schedule": {"cron": NIGHTLY}}
    assert job["pipeline_version_reference"]["pipeline_version_id"] == kfp_server.versions[0]["pipeline_version_id"]
    assert job["runtime_config"]["parameters"] == {"name": "all"}
    assert job["display_name"] == "greeting"
    assert not kfp_server.runs


@pytest.mark.parametrize(
    "change",
    [{"cron": "0 30 3 * * *"}, {"arguments": {"name": "all"}}, {"experiment": "other"}],
    ids=["cron", "arguments", "experiment"],
)
def test_a_changed_schedule_replaces_the_earlier_one(kfp_server, package, change):
    schedule(kfp_server.host, package, cron=NIGHTLY)
    url = schedule(kfp_server.host, package, **{"cron": NIGHTLY, **change})
    first, second = kfp_server.recurring_runs
    assert (first["status"], second["status"]) == ("DISABLED", "ENABLED")
    assert url.endswith(second["recurring_run_id"])


def test_new_content_replaces_the_schedule_of_the_old(kfp_server, tmp_path):
    schedule(kfp_server.host, compiled(tmp_path, "a"), cron=NIGHTLY)
    schedule(kfp_server.host, compiled(tmp_path, "b"), cron=NIGHTLY)
    (job,) = kfp_server.enabled()
    assert job["pipeline_version_reference"]["pipeline_version_id"] == kfp_server.versions[1]["pipeline_version_id"]


def test_an_unchanged_schedule_stays(kfp_server, package):
    first = schedule(kfp_server.host, package, cron=NIGHTLY)
    assert schedule(kfp_server.host, package, cron=NIGHTLY) == first
    assert len(kfp_server.recurring_runs) == 1


def test_doubled_schedules_are_reduced_to_one(kfp_server, package):
    schedule(kfp_server.host, package, cron=NIGHTLY)
    (job,) = kfp_server.recurring_runs
    kfp_server.recurring_runs.append({**job, "recurring_run_id": "double"})
    schedule(kfp_server.host, package, cron=NIGHTLY)
    assert kfp_server.enabled() == [job]


def test_schedules_of_another_name_are_left_alone(kfp_server, package):
    schedule(kfp_server.host, package, cron=NIGHTLY, name="films")
    schedule(kfp_server.host, package, cron=NIGHTLY, name="books")
    assert [job["display_name"] for job in kfp_server.enabled()] == ["films", "books"]


def test_a_refused_schedule_leaves_the_earlier_one_running(kfp_server, package):
    schedule(kfp_server.host, package, cron=NIGHTLY)
    kfp_server.refuse_schedules = True
    with pytest.raises(InputError, match=r"400: the schedule is refused"):
        schedule(kfp_server.host, package, cron="0 0 4 * * *")
    (job,) = kfp_server.enabled()
    assert job["trigger"]["cron_schedule"]["cron"] == NIGHTLY


def test_a_wrong_expression_reaches_no_server(kfp_server, package):
    with pytest.raises(InputError, match=r"five fields.*'0 0 3 \* \* \*'"):
        schedule(kfp_server.host, package, cron="0 3 * * *")
    assert not kfp_server.requests


def test_a_server_with_several_users_needs_a_namespace(kfp_server, package, monkeypatch):
    kfp_server.multi_user = True
    with pytest.raises(InputError, match="ELEC_KFP_NAMESPACE"):
        submit(kfp_server.host, package)
    monkeypatch.setenv("ELEC_KFP_NAMESPACE", "team")
    submit(kfp_server.host, package)
    assert {kfp_server.pipelines[0]["namespace"], kfp_server.experiments[0]["namespace"]} == {"team"}


def test_a_token_is_sent_and_its_lack_is_said_at_once(kfp_server, package, monkeypatch):
    kfp_server.token = "open-sesame"
    with pytest.raises(InputError, match=rf"{kfp_server.host}.*\(401\).*ELEC_KFP_TOKEN"):
        submit(kfp_server.host, package)
    assert len(kfp_server.requests) == 1
    monkeypatch.setenv("ELEC_KFP_TOKEN", "open-sesame")
    submit(kfp_server.host, package)
    assert len(kfp_server.runs) == 1


@pytest.mark.parametrize(("status", "error"), [(403, InputError), (404, InputError), (502, RunFailedError)])
def test_a_refusal_is_one_sentence_with_the_host(kfp_server, package, status, error):
    kfp_server.status = status
    with pytest.raises(error, match=rf"^[^\n]*{kfp_server.host}[^\n]*{status}: it is broken[^\n]*$"):
        submit(kfp_server.host, package)


def test_a_login_page_is_not_taken_for_the_api(kfp_server, package):
    kfp_server.page = "<html>log in</html>"
    with pytest.raises(InputError, match="a page answers"):
        submit(kfp_server.host, package)


def test_nothing_listens(package, capfd):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(InputError, match=rf"^--host {host}: nothing answers there \([^\n]*$"):
        submit(host, package)
    assert capfd.readouterr().err == ""


def test_an_unknown_host(package):
    with pytest.raises(InputError, match=r"^--host http://kfp\.invalid:8888: nothing answers there"):
        submit("http://kfp.invalid:8888", package)


@pytest.mark.parametrize("host", ["", "localhost:8888", "ftp://host", "http://", "https:///path"])
def test_an_address_that_is_none(host, package):
    with pytest.raises(InputError, match="write it like http://localhost:8888"):
        submit(host, package)


def test_an_untrusted_certificate(package, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *SELF_SIGNED],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl cannot make a certificate here")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def shake_hands() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    context.wrap_socket(connection, server_side=True)
                except OSError:
                    return  # the client hangs up

        thread = threading.Thread(target=shake_hands, daemon=True)
        thread.start()
        with pytest.raises(InputError, match=rf"^--host https://localhost:{port}: no trusted TLS [^\n]*SSL_CERT_FILE"):
            submit(f"https://localhost:{port}", package)
        thread.join(timeout=10)


def test_a_file_that_is_no_pipeline(kfp_server, tmp_path):
    with pytest.raises(InputError, match=r"missing\.yaml: cannot be read"):
        submit(kfp_server.host, tmp_path / "missing.yaml")
    other = tmp_path / "other.yaml"
    other.write_text("a: 1\n")
    with pytest.raises(InputError, match=r"other\.yaml: not a compiled pipeline"):
        submit(kfp_server.host, other)
    assert not kfp_server.requests


def test_an_argument_that_the_pipeline_does_not_take(kfp_server, package):
    with pytest.raises(InputError, match="no parameter 'nmae'; it has name"):
        submit(kfp_server.host, package, arguments={"nmae": "all"})
    assert not kfp_server.requests
