"""What a network knows of a column that it reads."""

from typing import Protocol


class Field(Protocol):
    """One encoded field, as the feature encoder describes it.

    Its ids are its own: 0 pads unused slots of a multi-valued field, 1 is missing, 2 out of vocabulary, 3 and up are values.
    """

    @property
    def name(self) -> str:
        """The column."""

    @property
    def width(self) -> int:
        """Id slots in an encoded row."""

    @property
    def size(self) -> int:
        """Number of ids, the three special ones included."""

    @property
    def kind(self) -> str:
        """`categorical`, `numeric` or `multivalued`."""
