"""The frozen language model: its vectors of texts, and the M-LLM, its two added layers that predict clicks.

Importing this package loads no torch; `encoder`, `mllm`, `adapt` and `representations` are imported by whoever needs them.
"""

from elec.llm.encode import EncodeReport, encode_shard, plan_shards
from elec.llm.identity import llm_id
from elec.llm.vector_store import VectorStore

__all__ = ["EncodeReport", "VectorStore", "encode_shard", "llm_id", "plan_shards"]
