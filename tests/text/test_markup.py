"""What a browser would not show does not reach the language model."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elec.text.markup import strip_markup


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain words", "plain words"),
        ("<p>One</p><p>two</p>", "One two"),
        ("<b>bold</b>ly", "boldly"),
        ("a<br/>b<br>c", "a b c"),
        ("11&rdquo; x 8.5&#34; &amp; more", '11” x 8.5" & more'),
        ("before <!-- .header {color: red} --> after", "before after"),
        ("before <!-- never closed <b>x</b>", "before"),
        ("<style type='text/css'>p {color: red}</style>red pen", "red pen"),
        ("<SCRIPT>if (a < b) alert('<p>x</p>')</SCRIPT>pen", "pen"),
        ("pen<script>alert(1)", "pen"),
        ("5 < 6 and a<3 & 7 > 2", "5 < 6 and a<3 & 7 > 2"),
        ("AT&T; R&D", "AT&T; R&D"),
        ("<ul><li>one<li>two</ul>", "one two"),
        ("</div></script>end", "end"),
        ("spread\n\n  over\tlines", "spread over lines"),
        ("<a title='x > y' href=\"q\">pen</a>", "pen"),
        ("<p class=it's>pen</p>", "pen"),
        ("pen <a href='http", "pen"),
        ("<!DOCTYPE html><?xml x?>pen", "pen"),
        ("&lt;b&gt; is a tag", "<b> is a tag"),
        ("", ""),
    ],
)
def test_words_that_remain(text: str, words: str) -> None:
    assert strip_markup(text) == words


@given(st.text(alphabet="ab <>/!-&;#x\"'=", max_size=60))
def test_any_text_ends_trimmed(text: str) -> None:
    found = strip_markup(text)
    assert found == " ".join(found.split())


@pytest.mark.parametrize(
    "part",
    [
        "<",
        "<!--",
        "<a ",
        "<a x=",
        "<a x='",
        "<a '>",
        "&#",
        "<b>",
        "<!",
        "</",
        "<script",
        "<script>",
        "<style></",
        "&lt",
        '<"',
        "<?",
    ],
)
def test_broken_markup_takes_linear_time(part: str) -> None:
    started = time.process_time()
    strip_markup(part * (400_000 // len(part)))
    assert time.process_time() - started < 3
