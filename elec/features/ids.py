"""The ids that every field has, before those of its own values."""

#: An unused slot of a multi-valued field; no other field has it.
PADDING = 0
#: The value is not there: null, an empty text, an empty list, not a finite number.
MISSING = 1
#: The value is there, but training saw it too seldom or never.
OUT_OF_VOCABULARY = 2
#: The first value of a vocabulary, or the lowest bucket.
FIRST_VALUE = 3
