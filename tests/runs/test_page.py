import json
import re

import pytest

from elec.runs.markdown import results_markdown
from elec.runs.page import build_page, results_page
from elec.runs.page.charts import Series, line_chart, ticks
from elec.runs.page.numbers import UNKNOWN, seconds
from elec.runs.summary import summarise
from tests.browser import CHROMIUM, check_nothing_is_loaded, opened, read

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7*7 }}"
TRACED = {"message": "shapes do not fit", "kind": "RuntimeError", "exit_code": 1, "trace": 'File "adapt.py", line 1'}


def page_of(run) -> str:
    return build_page(summarise(run), run.records())


def test_the_page_tells_the_run(write, made_up):
    page = page_of(write(made_up))
    assert len(page.encode()) < 500_000
    text = read(page).text
    for said in (
        "movielens-100k",
        "Promoted",
        "The challenger replaces the champion: AUC 0.7812 against 0.7789, LogLoss 0.5609 against 0.5632.",
        "It predicts 1.005 times the observed clicks",
        "1 min 36 s",
        "2 shards",
        "ROC",
        "Reliability",
        "Distillation",
        "M-LLM adaptation",
        "line has 3 columns instead of 4",
        "Field 'occupation' has drifted",
        "2,302",
        "81.4% of rows known",
    ):
        assert said in text, said


def test_nothing_is_loaded_and_nothing_runs(write, made_up):
    check_nothing_is_loaded(page_of(write(made_up)))


def test_the_best_of_each_column_is_marked(write, made_up):
    page = page_of(write(made_up))
    best = re.findall(r'<td class="best">([\d.]+)</td>', page)
    assert best == ["0.7841", "0.7031", "0.5580", "0.999"]


def poisoned(value):
    """The same facts with hostile text wherever text was, keys included where they are free."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_hostile_text_stays_text(write, made_up):
    decision = made_up["check_drift"]["decision"]
    facts = poisoned(made_up)
    facts["check_drift"]["decision"] = decision
    facts["ingest"]["quarantine"] = {HOSTILE: 3}
    for place in (facts["check_drift"]["fields"], facts["evaluate"]["metrics"], facts["evaluate"]["roc"]):
        place[HOSTILE] = next(iter(place.values()))
    facts["deploy"]["endpoint"] = "javascript:alert(1)"
    facts["deploy"]["smoke"] = {HOSTILE: HOSTILE}
    page = page_of(write(facts))
    found = read(page)
    assert "<script" not in page
    assert "<img" not in page
    assert "49" not in re.findall(r"'(\d+)", page)
    assert not [a for _, a in found.tags if any(name.startswith("on") for name in a)]
    assert not [a for tag, a in found.tags if tag == "a" and str(a["href"]).startswith("javascript")]
    assert HOSTILE in found.text


def test_a_hostile_trace_and_step_stay_text(write, made_up):
    error = {"message": HOSTILE, "kind": HOSTILE, "exit_code": 1, "trace": HOSTILE}
    page = page_of(write(made_up, until="adapt_llm", status="failed", error=error))
    assert "<script" not in page
    assert "<img" not in page


def test_a_failed_run_says_so_first(write, made_up):
    text = read(page_of(write(made_up, until="adapt_llm", status="failed", error=TRACED))).text
    error = text.index("adapt_llm failed with RuntimeError: shapes do not fit")
    assert error < text.index("Pipeline")
    assert "Completed Ingest, Check drift, Build features, Textify, Encode text" in text
    assert "steps/adapt_llm.json" in text
    assert "Start the run again" in text
    assert 'File "adapt.py", line 1' in text
    assert "Results on the test window" not in text


def test_a_bad_shard_is_the_one_that_is_linked(write, made_up):
    page = page_of(write(made_up, until="encode_text-1", status="failed", error=TRACED))
    assert 'Record</dt><dd><a href="steps/encode_text-1.json">' in page


@pytest.mark.parametrize(
    ("until", "status", "error", "said"),
    [
        ("ingest", "failed", {"message": "log.csv: no such file", "exit_code": 2}, "Correct what the sentence names"),
        ("ingest", "blocked", {"message": "9% of the rows are bad"}, "max_bad_share"),
        ("distill", "running", None, "give the step more memory"),
        ("deploy", "blocked", {"message": "the smoke test failed"}, "The champion goes on serving"),
        ("textify", "done", None, "The run ended after textify"),
    ],
)
def test_what_to_do_fits_what_happened(write, made_up, until, status, error, said):
    assert said in read(page_of(write(made_up, until=until, status=status, error=error))).text


def canary(state: str) -> dict[str, object]:
    of = {"requests": 1800, "errors": 0, "refused": 0, "p50_ms": 2.0, "p99_ms": 4.126, "scores": 180_000}
    return {
        "state": state,
        "reasons": ["failed on 4.00% of its requests (at most 1.00%)", HOSTILE],
        "share": 10,
        "traffic": "live",
        "seconds": 300.2,
        "champion": {"bundle_id": "toy-1", **of},
        "challenger": {"bundle_id": "toy-2", **of, "requests": 200, "errors": 8, "p99_ms": None},
        "score_psi": 0.0312,
    }


@pytest.mark.parametrize(("state", "said"), [("promoted", "Promoted after"), ("rolled_back", "Rolled back after")])
def test_a_canary_is_on_the_page(write, made_up, state, said):
    made_up["deploy"]["canary"] = canary(state)
    page = page_of(write(made_up))
    text = " ".join(read(page).text.split())
    assert f"{said} 5 min 00 s with 10% of the live traffic: the challenger failed on 4.00% of its requests" in text
    assert f"Challenger toy-2 200 8 0 2.00 {UNKNOWN} 180,000" in text
    assert "index between their scores: 0.031" in text
    assert "<script" not in page


def test_a_blocked_run_shows_its_drift(write, made_up):
    made_up["check_drift"] |= {"decision": "block", "verdict": "block", "reasons": ["The label is gone."]}
    text = read(page_of(write(made_up, until="check_drift"))).text
    assert "Blocked" in text
    assert "start the run again with --force" in text
    assert "Evidently's report of the same windows" in text


@pytest.mark.parametrize(
    ("gate", "badge"), [("promote", "Promoted"), ("keep", "Champion kept"), ("reject", "Challenger rejected")]
)
def test_every_decision_has_its_badge(write, made_up, gate, badge):
    made_up["evaluate"]["gate"]["verdict"] = gate
    assert badge in read(page_of(write(made_up, until="deploy" if gate == "promote" else "evaluate"))).text


def test_a_first_run_has_no_champion(write, made_up):
    del made_up["evaluate"]["metrics"]["champion"]
    made_up["evaluate"]["difference"] = None
    made_up["check_drift"] = {"verdict": "first", "reasons": ["There is no champion yet."], "report": None}
    text = read(page_of(write(made_up))).text
    assert "The first model goes into service: AUC 0.7812" in text
    assert "First run" in text
    assert "vanilla over champion" not in text


def test_figures_that_are_not_known_are_dashes(write, made_up):
    made_up["evaluate"]["metrics"]["vanilla"]["gauc"] = None
    made_up["evaluate"]["latency_ms"] = None
    assert "<td>–</td>" in page_of(write(made_up))  # noqa: RUF001


def test_records_without_facts_make_a_page(write):
    read(page_of(write({})))


def test_results_stand_alone(made_up):
    facts = made_up["evaluate"]
    text = read(results_page(facts)).text
    assert "vanilla over plain" in text
    assert "Distillation" not in text
    read(results_page({}))


def test_markdown_has_the_decision_and_the_figures(made_up):
    text = results_markdown(made_up["evaluate"])
    assert text.startswith("**The challenger goes into service.**")
    assert "| vanilla | 0.7812 | 0.7002 | 0.5609 | 1.005 |" in text
    assert "| gain | **0.7841** | **0.7031** | **0.5580** | 1.008 |" in text
    assert "| vanilla over plain | AUC | +0.0058 | +0.0031 to +0.0086 |" in text
    assert "no decision" in results_markdown({})


def three_students(made_up):
    students = {
        "vanilla": (0.781, 0.31, None, "validation AUC not above that of semantic_ids"),
        "semantic_ids": (0.792, 0.44, None, "challenger"),
        "vectors": (0.799, 14.2, 13.6, "too slow: 14.20 ms, at most 10 ms"),
    }
    made_up["evaluate"]["student"] = "semantic_ids"
    made_up["evaluate"]["students"] = {
        name: {
            "valid": {"auc": auc + 0.001, "logloss": 0.55, "pcoc": 1.0},
            "test": {"auc": auc, "logloss": 0.56, "pcoc": 1.01},
            "latency": {"candidates": 100, "p50_ms": latency, "lookup_p50_ms": look_up},
            "why": why,
        }
        for name, (auc, latency, look_up, why) in students.items()
    }


def test_the_students_are_compared_where_there_is_a_choice(write, made_up):
    run = write(made_up)
    assert "The choice of the student" not in build_page(summarise(run), run.records())
    three_students(made_up)
    run = write(made_up)
    page = build_page(summarise(run), run.records())
    assert "The choice of the student" in page
    for said in ("0.8000", "14.20 ms", "13.60 ms of it look-up", "too slow: 14.20 ms, at most 10 ms", "looked up in Feast"):
        assert said in page
    assert "tabular columns and the item&#39;s semantic ids" in page, "the table of networks says what the student reads"
    assert "The choice of the student" in results_page(made_up["evaluate"])


def test_students_in_markdown(made_up):
    assert "valid AUC" not in results_markdown(made_up["evaluate"])
    three_students(made_up)
    text = results_markdown(made_up["evaluate"])
    assert "| **semantic\\_ids** | 0.7930 | 0.7920 | 0.5600 | 1.010 | 0.44 | challenger |" in text
    assert "| vectors | 0.8000 | 0.7990 | 0.5600 | 1.010 | 14.20 | too slow: 14.20 ms, at most 10 ms |" in text


def test_markdown_keeps_text_as_text(made_up):
    made_up["evaluate"]["gate"]["reasons"] = ["a | b\n# <b>[x](javascript:1)</b>"]
    assert r"- a \| b \# \<b\>\[x\](javascript:1)\</b\>" in results_markdown(made_up["evaluate"])


def test_ticks_are_round_and_inside():
    assert ticks(0.0, 1.0) == [
        (0.0, "0.0"),
        (0.2, "0.2"),
        (0.4, "0.4"),
        pytest.approx((0.6, "0.6")),
        (0.8, "0.8"),
        (1.0, "1.0"),
    ]
    assert [label for _, label in ticks(0.5581, 0.6433)] == ["0.56", "0.58", "0.60", "0.62", "0.64"]
    assert [label for _, label in ticks(1, 3, whole=True)] == ["1", "2", "3"]
    assert [label for _, label in ticks(1, 60, whole=True)] == ["20", "40", "60"]


def test_charts_leave_out_what_cannot_be_drawn():
    assert line_chart("x", [Series("vanilla", [])], x_label="", y_label="") is None
    holes = [(1.0, 0.5), (2.0, float("nan")), (3.0, float("inf")), (4.0, 0.4)]
    chart = line_chart("x", [Series("vanilla", holes)], x_label="", y_label="")
    assert chart.lines[0].path.count("L") == 1
    single = line_chart("x", [Series("vanilla", [(1.0, 0.5)])], x_label="", y_label="", whole_x=True)
    assert len(single.lines[0].dots) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (96.4, "1 min 36 s"), (3725, "1 h 02 min")]
)
def test_durations(value, text):
    assert seconds(value) == text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("made", ["run", "results"])
def test_a_browser_opens_it_without_a_complaint(write, made_up, tmp_path, made):
    page = page_of(write(made_up)) if made == "run" else results_page(made_up["evaluate"])
    dom, console = opened(page, tmp_path)
    assert "Results on the test window" in dom
    assert dom.count("<svg") >= 10
    assert console == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_policy_would_stop_what_got_in(write, made_up, tmp_path):
    smuggled = '<img src="https://example.org/x.png"><script>document.title = "taken"</script><b style="color: red">x</b>'
    page = page_of(write(made_up)).replace("</header>", f"</header>{smuggled}")
    dom, console = opened(page, tmp_path)
    assert "<title>taken" not in dom
    for directive in ("img-src", "script-src", "style-src"):
        assert any(directive in line for line in console), directive


def test_the_summary_file_has_the_agreed_keys(write, made_up):
    keys = set(json.loads(summarise(write(made_up)).model_dump_json()))
    agreed = {"run_id", "as_of", "code_version", "steps", "rows", "texts", "metrics", "drift", "gate", "bundle", "endpoint"}
    assert agreed <= keys
