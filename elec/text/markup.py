"""Takes the markup out of a text: tags, comments, scripts and style sheets; entities become the characters they stand for.

By patterns, each of which gives up at the next "<": the standard library's parser needs quadratic time for broken markup, a
minute for a hundred kilobytes of "<a <a <a".
"""

import html
import re

#: What may be markup: a tag, a comment, an entity. Arrow's engine (RE2) and Python's read it alike.
MARKUP = r"<[A-Za-z/!?]|&(?:#\d+|#[xX][0-9A-Fa-f]+|[A-Za-z][A-Za-z0-9]*);"

_MARKUP = re.compile(MARKUP)
# Unclosed, a comment or a script hides what follows it, as in a browser.
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|template)\b[^<>]*>.*?(?:</\1\b[^<>]*>|\Z)", re.DOTALL | re.IGNORECASE)
# First with ">" allowed inside quotes; else up to the first ">", or to the end of a text that was cut off in a tag.
_TAG = re.compile(r"""</?([A-Za-z][A-Za-z0-9]*)?(?:(?:[^<>"']|"[^"<]*"|'[^'<]*')*>|[^<>]*(?:>|\Z))""")
_NO_TAG = re.compile(r"<(?![A-Za-z/!?])")
_INLINE = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub", "sup", "u"}
)
_SPACE = re.compile(r"\s+")


def strip_markup(text: str) -> str:
    """The words of a text that may be HTML, with single spaces between them; what a browser would not show is left out."""
    if _MARKUP.search(text):
        # "a < b" is no tag: out of the way of the patterns, it comes back with the entities.
        text = _NO_TAG.sub("&lt;", _HIDDEN.sub(" ", text))
        text = html.unescape(_TAG.sub(_instead, text))
    return _SPACE.sub(" ", text).strip()


def _instead(tag: re.Match[str]) -> str:
    """What a tag leaves: `<p>a</p><p>b</p>` is two words, `<b>a</b>b` is one."""
    return "" if (tag[1] or "").lower() in _INLINE else " "
