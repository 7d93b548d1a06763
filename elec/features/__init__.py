"""From ingested rows to encoded columns: Feast's views, a point-in-time training frame, look-ups online, vocabularies.

This package itself needs pyarrow and numpy only, so that serving can encode without DuckDB or torch; `feast` and `duckdb`
are imported by the functions that use them.
"""

from elec.features.encoding import EncodedField, FeatureEncoder
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY, PADDING

__all__ = ["FIRST_VALUE", "MISSING", "OUT_OF_VOCABULARY", "PADDING", "EncodedField", "FeatureEncoder"]
