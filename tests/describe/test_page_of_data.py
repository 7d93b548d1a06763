"""The page of a data set: what it says, what it must not do, and how a browser takes it."""

import re
from pathlib import Path

import pytest

from elec.describe import DataSummary, data_page, describe
from elec.runs.page.charts import Series, line_chart
from elec.runs.page.numbers import compact
from elec.runs.page.panels import HEIGHT, Slot, interval, panels
from tests.browser import CHROMIUM, check_nothing_is_loaded, opened, read
from tests.describe.made import BAD_ROWS, HOSTILE, made_log
from tests.ingest.made import AS_OF


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> DataSummary:
    return describe(*made_log(tmp_path_factory.mktemp("page"), 1), AS_OF)


@pytest.fixture(scope="module")
def page(summary: DataSummary) -> str:
    return data_page(summary)


def test_it_tells_the_figures(summary: DataSummary, page: str) -> None:
    text = read(page).text
    report = summary.report
    for said in (
        f"{report.rows_kept:,} impressions of {report.items:,} items by {report.users:,} users",
        f"{BAD_ROWS} rows quarantined",
        f"Quarantined: {BAD_ROWS} rows",
        "age: not a number",
        "log.csv, line",
        "Of users not in train",
        "Share of rows that the most active have",
        "99th percentile",
        "The figures, by words",
        "By 3 hours",
    ):
        assert said in text, said
    for field in summary.fields:
        assert f"{field.distinct:,}" in text
        for value in field.top:
            assert f"{value.rows:,}" in text
    assert len(page.encode()) < 500_000


def test_the_same_summary_gives_the_same_page(summary: DataSummary, page: str) -> None:
    assert data_page(DataSummary.model_validate_json(summary.model_dump_json())) == page


def test_nothing_is_loaded_and_nothing_runs(page: str) -> None:
    check_nothing_is_loaded(page)


def test_hostile_text_stays_text(summary: DataSummary) -> None:
    poisoned = summary.model_copy(
        update={
            "dataset": HOSTILE,
            "fields": tuple(field.model_copy(update={"name": HOSTILE}) for field in summary.fields),
            "refused": tuple(
                one.model_copy(update={"reason": HOSTILE, "examples": ((HOSTILE, 1, HOSTILE),)}) for one in summary.refused
            ),
        }
    )
    page = data_page(poisoned)
    found = read(page)
    assert "<script" not in page
    assert "<img" not in page
    assert "49" not in re.findall(r"'(\d+)", page)
    assert not [a for _, a in found.tags if any(name.startswith("on") for name in a)]
    assert HOSTILE in found.text


def test_a_value_cannot_turn_the_text_around_it(page: str) -> None:
    assert "<bdi>a\u202eb</bdi>" in page, "values are isolated from the direction of what follows"
    assert "<bdi>&#39;  &#39;</bdi>" in page, "blanks alone would not be seen"


def test_every_picture_has_a_name_and_a_table(page: str) -> None:
    found = read(page)
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    pictures = [attributes for tag, attributes in found.tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert len(pictures) >= 8
    for picture in pictures:
        assert picture["role"] == "img"
        assert picture.get("aria-label") or set(str(picture["aria-labelledby"]).split()) <= ids
    plots = [attributes for tag, attributes in found.tags if tag == "svg" and attributes.get("class") == "plot"]
    assert len(plots) == page.count("<summary>The figures, by ")
    assert all(attributes.get("scope") in {"row", "col"} for tag, attributes in found.tags if tag == "th")
    links = [str(attributes["href"]) for tag, attributes in found.tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= ids


def test_fields_without_a_value_and_logs_without_refusals(summary: DataSummary) -> None:
    field = summary.fields[2]
    empty = field.model_copy(update={"distinct": 0, "top": (), "numbers": None, "missing": field.missing})
    page = data_page(summary.model_copy(update={"fields": (empty,), "refused": ()}))
    text = read(page).text
    assert "No row has a value." in text
    assert "Quarantined: " not in text


def test_intervals_are_wilsons() -> None:
    # Figures of Newcombe, Statistics in Medicine 1998, table I.
    assert interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert interval(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)
    assert interval(0, 0) == (0.0, 1.0)


def test_panels_place_what_they_are_given() -> None:
    slots = [Slot("a", (60, 40), 10), Slot("b", (0, 0), 0), Slot("c", (50, 0), 50), Slot("d", (0, 1), 0)]
    made = panels("x", slots, [(0.5, "a"), (3.5, "d")], unit="letter", parts=("train", "test"), linked=True)
    assert [bar.part for bar in made.bars] == ["train", "test", "train", "test"]
    first, second = made.bars[:2]
    assert first.top == pytest.approx(second.top + second.height)
    assert first.height == pytest.approx(second.height * 1.5)
    assert made.bars[3].height == 1.0, "one row shows"
    assert [rate.at for rate in made.rates] == [12.5, 62.5, 87.5]
    assert [(one.at, other.at) for one, other in made.links] == [(62.5, 87.5)], "no line over a gap"
    assert all(rate.high <= rate.y <= rate.low for rate in made.rates)
    assert all(0 <= bar.at <= 100 and 0 <= bar.top <= HEIGHT for bar in made.bars)
    assert [label.anchor for label in made.labels] == ["middle", "middle"]
    assert made.table[1] == ("b", "0", "0", "0", "–")  # noqa: RUF001
    assert "most rows: a, 100" in made.about


def test_rates_of_few_rows_each_have_an_axis() -> None:
    made = panels("x", [Slot(str(n), (10,), n % 4) for n in range(30)], [(0.5, "0")], unit="n")
    assert len({rate.y for rate in made.rates}) == 4
    stretched = panels("x", [Slot("a", (1000,), 20), Slot("b", (1000,), 40), Slot("c", (2,), 2)], [], unit="n")
    assert stretched.rates[2].y < stretched.rates[1].y < stretched.rates[0].y, "one that is beyond stays at the edge"
    assert stretched.rates[0].y - stretched.rates[1].y > 20
    assert [rate.beyond for rate in stretched.rates] == [False, False, True]
    assert stretched.note == "A hollow dot lies beyond the axis."
    assert made.note == ""


def test_a_logarithmic_chart_has_powers_of_ten() -> None:
    chart = line_chart(
        "x", [Series("users", [(1, 5000), (10, 50), (2000, 1)])], x_label="rank", y_label="rows", logarithmic=True
    )
    assert chart is not None
    assert [tick.label for tick in chart.x_ticks] == ["1", "10", "100", "1k"]
    assert [tick.label for tick in chart.y_ticks] == ["1", "10", "100", "1k"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1250, "1.25k"), (-20_000_000, "-20M"), (0.00012, "0.00012"), (3e20, "3e20"), (0.5, "0.5")],
)
def test_compact_numbers(number: float, text: str) -> None:
    assert compact(number) == text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_opens_it_without_a_complaint(page: str, tmp_path: Path) -> None:
    dom, console = opened(page, tmp_path)
    assert "Train, valid and test" in dom
    assert dom.count("<svg") >= 40
    assert console == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [400, 1180])
def test_it_fits_the_window(page: str, tmp_path: Path, width: int) -> None:
    (tmp_path / "data.html").write_text(page, encoding="utf-8")
    script = "onload = () => { document.title = frames[0].document.documentElement.scrollWidth }"
    around = f'<title></title><iframe src="data.html" width="{width}" height="900"></iframe><script>{script}</script>'
    dom, _ = opened(around, tmp_path, "--allow-file-access-from-files")
    found = re.search(r"<title>(\d+)</title>", dom)
    assert found is not None
    assert int(found[1]) <= width, "what is wide scrolls by itself, the page does not"
