"""Rules over one column, such as `rating > 3`: how a spec says what a click is and which rows to leave out.

A rule is parsed, never evaluated as code.
"""

import re
from dataclasses import dataclass

_RULE = re.compile(r"^\s*([A-Za-z_][\w.:-]*)\s*(==|!=|>=|<=|>|<)\s*(.+?)\s*$")
_NUMBER = re.compile(r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$")

#: Comparison as written -> the name of its pyarrow.compute function.
OPERATORS = {
    "==": "equal",
    "!=": "not_equal",
    ">": "greater",
    ">=": "greater_equal",
    "<": "less",
    "<=": "less_equal",
}


@dataclass(frozen=True)
class Rule:
    """`column operator value`; the value is a number where it reads as one, else text."""

    column: str
    operator: str
    value: float | str

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Reads a rule.

        Args:
            text: For example `rating > 3` or `event == 'click'`.

        Raises:
            ValueError: If the text is not one comparison of a column with a value.
        """
        match = _RULE.match(text)
        if match is None:
            raise ValueError(f"'{text}' is not a rule; write one comparison, such as 'rating > 3' or \"event == 'click'\"")
        column, operator, literal = match.groups()
        quoted = len(literal) >= 2 and literal[0] == literal[-1] and literal[0] in "'\""
        if quoted:
            return cls(column, operator, literal[1:-1])
        if _NUMBER.match(literal):
            return cls(column, operator, float(literal))
        if re.search(r"\s(and|or|&&|\|\|)\s", literal, re.IGNORECASE):
            raise ValueError(
                f"'{text}' is more than one comparison; write one, such as 'rating > 3', and quote a value that has spaces"
            )
        if operator in {"==", "!="}:
            return cls(column, operator, literal)
        raise ValueError(f"'{text}' orders by '{literal}', which is not a number; quote it to compare text")
