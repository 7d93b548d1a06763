"""The frozen LLM as an encoder: a text in, the mean of its last hidden states out.

Any model that Transformers has a class for, encoder or causal, from safetensors or GGUF; no pickle, no remote code, no model
hub. Products of matrices are in bfloat16 on a device with instructions for it (three times the texts a second on a CPU that has
them; cosine to float32's vectors above 0.9999), sums and the mean in float32.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np

from elec.device import choose_device, fast_bfloat16
from elec.errors import InputError
from elec.llm.identity import gguf_file, model_folder
from elec.spec.learning import LlmSpec


class Encoder:
    """A frozen language model with mean pooling. Use `Encoder.load`.

    Args:
        model: A Transformers model that gives `last_hidden_state`.
        tokenizer: Its tokenizer.
        spec: Its settings.
    """

    def __init__(self, model: Any, tokenizer: Any, spec: LlmSpec) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = spec.batch_size
        self._half = spec.precision == "bfloat16" or (spec.precision == "auto" and fast_bfloat16(model.device))
        self._max_tokens = min(spec.max_tokens, tokenizer.model_max_length, _positions(model.config))

    @classmethod
    def load(cls, spec: LlmSpec, *, device: str = "auto") -> Self:
        """Loads a model.

        Args:
            spec: The model and its settings.
            device: `auto`, `cpu` or `cuda`.

        Raises:
            InputError: If there is no such model, or it cannot be loaded as an encoder.
        """
        folder = model_folder(spec.name)
        gguf = gguf_file(folder)
        # Read by the hub's client when it is first imported; a local folder needs no hub.
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        # What it would say of loading, `_check` says, and the heads of the model are left out on purpose.
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            # trust_remote_code is False rather than left out: else a terminal is asked.
            files = {"local_files_only": True, "trust_remote_code": False, **({"gguf_file": gguf} if gguf else {})}
            tokenizer = AutoTokenizer.from_pretrained(folder, **files)
            # The bar of GGUF's unpacking knows no other way to be quiet.
            with contextlib.redirect_stderr(io.StringIO()) if gguf else contextlib.nullcontext():
                model, loading = AutoModel.from_pretrained(
                    folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **files
                )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"llm.name '{spec.name}': cannot be loaded ({reason}); "
                "give the folder of a Hugging Face model with its tokenizer"
            ) from error
        _check(spec.name, model, tokenizer, loading["missing_keys"])
        if tokenizer.pad_token is None:
            # Padding is masked out; which token it is does not matter, but it has to be one.
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        # After the text, padding changes no position and, in a causal model, nothing that a token sees.
        tokenizer.padding_side = "right"
        model.requires_grad_(False).eval().to(choose_device(device))
        return cls(model, tokenizer, spec)

    @property
    def size(self) -> int:
        """The length of a vector."""
        return int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str], *, done: Callable[[int], None] | None = None) -> np.ndarray:
        """Encodes texts, sorted by length so that little is padded.

        Args:
            texts: N of them; a text without a token has the zero vector.
            done: Told how many texts a batch had, after each one.

        Returns:
            float32 [N, H], in the order of the texts.
        """
        import torch

        vectors = np.zeros((len(texts), self.size), dtype=np.float32)
        if not texts:
            return vectors
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens, return_token_type_ids=False)[
            "input_ids"
        ]
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        order = np.argsort(lengths, kind="stable")
        empty = int((lengths == 0).sum())
        if empty and done is not None:
            done(empty)
        with torch.inference_mode():
            for start in range(empty, len(order), self._batch_size):
                chosen = order[start : start + self._batch_size]
                vectors[chosen] = self._forward([tokens[place] for place in chosen])
                if done is not None:
                    done(len(chosen))
        return vectors

    def _forward(self, tokens: list[list[int]]) -> np.ndarray:
        """The mean of the last hidden states over each text's own tokens: float32 [B, H]."""
        import torch

        device = self._model.device
        padded = self._tokenizer.pad({"input_ids": tokens}, padding=True, return_attention_mask=True, return_tensors="pt").to(
            device
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=self._half):
            states_BTH = self._model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).last_hidden_state
        mask_BT1 = padded["attention_mask"].unsqueeze(-1).float()
        pooled_BH = (states_BTH.float() * mask_BT1).sum(1) / mask_BT1.sum(1)
        return np.asarray(pooled_BH.cpu().numpy(), dtype=np.float32)


def _check(name: str, model: Any, tokenizer: Any, missing: Iterable[str]) -> None:
    """Refuses what would load, and give vectors that mean nothing."""
    if model.config.is_encoder_decoder:
        raise InputError(f"llm.name '{name}': an encoder-decoder; use an encoder or a causal model")
    # A pooler is not read.
    random = sorted(key for key in missing if "pooler" not in key)
    if random:
        raise InputError(f"llm.name '{name}': {len(random)} weights are missing ({random[0]}, ...); give the whole model")
    known = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        raise InputError(
            f"llm.name '{name}': the tokenizer has {len(tokenizer)} tokens, the model knows {known}; "
            "give the model's own tokenizer"
        )


def _positions(config: Any) -> int:
    """How many tokens a model has positions for."""
    positions = getattr(config, "max_position_embeddings", None) or 1 << 30
    # RoBERTa and its kin count positions from behind the padding token's id.
    kin = "roberta" in config.model_type or config.model_type in {"mpnet", "camembert", "data2vec-text", "longformer"}
    offset = (config.pad_token_id or 0) + 1 if kin else 0
    return int(positions) - offset
