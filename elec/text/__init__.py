"""Records become text, in the paper's template, each distinct text once; long text becomes tags."""

from elec.text.markup import strip_markup
from elec.text.template import distinct, render
from elec.text.textify import TextReport, textify

__all__ = ["TextReport", "distinct", "render", "strip_markup", "textify"]
