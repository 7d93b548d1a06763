"""Fills the templates. Values are escaped wherever they stand, and a page may load nothing and run nothing."""

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from elec.runs.page import numbers

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **context: Any) -> str:
    """Renders a template to a self-contained page.

    Args:
        template: Its file.
        context: What it shows.
    """
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # Only this style sheet applies, known by its hash: no script, no request, no style from the data.
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return _environment().get_template(template).render(style=Markup(style), policy=policy, **context)  # noqa: S704 - our own file


def web_link(address: str | None) -> str | None:
    """The address if it is one that a page may link to, else None."""
    try:
        parsed = urlsplit(address or "")
    except ValueError:
        return None
    return address if parsed.scheme in {"http", "https"} and parsed.netloc else None


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "fixed": numbers.fixed,
        "signed": numbers.signed,
        "count": numbers.count,
        "percent": numbers.percent,
        "seconds": numbers.seconds,
    }
    return environment
