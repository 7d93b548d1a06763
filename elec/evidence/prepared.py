"""A sample of a data set, prepared by the product's own rooms, in the cache: log, ingested, features, texts, knowledge."""

import fcntl
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from elec.errors import InputError
from elec.evidence.arms import Source
from elec.evidence.controls import ControlStore
from elec.evidence.experiment import Experiment
from elec.llm import VectorStore, encode_shard, llm_id
from elec.spec import Spec, cache_folder, load_spec
from elec.spec.learning import LlmSpec, TextSpec
from elec.spec.run import RunSpec

#: Raised whenever preparing gives other folders from the same files.
PREPARED_VERSION = 1


def evidence_folder() -> Path:
    """Where samples, vectors and cells are."""
    return cache_folder() / "evidence"


class Sample:
    """One sample of an experiment's data set.

    Args:
        experiment: Whose.
        seed: Of the log, where the experiment draws one a seed; else all seeds share a sample.
        name: The sample's, where it is known: files that change meanwhile then make no other sample of it.
    """

    def __init__(self, experiment: Experiment, seed: int, name: str = "") -> None:
        self.experiment = experiment
        self.seed = seed if experiment.resample else 0
        self.name = name or f"{experiment.name}-{self.seed}-{_content_key(experiment)}"
        self.folder = evidence_folder() / "prepared" / self.name

    @property
    def spec(self) -> Spec:
        """The data set as the prepared log has it, with the experiment's recipe.

        Raises:
            InputError: If the log is not prepared, or its spec is wrong.
        """
        where = self.experiment.spec if self.experiment.spec is not None else self.folder / "log" / "spec.yaml"
        return load_spec(where).model_copy(update={"run": self.experiment.run})

    @property
    def ingested(self) -> Path:
        """Folder of the ingested rows."""
        return self.folder / "ingested"

    @property
    def features(self) -> Path:
        """Folder of the features."""
        return self.folder / "features"

    def texts(self, text: TextSpec) -> Path:
        """Folder of the texts that these settings give."""
        return self.folder / f"texts-{_hash(text.model_dump(mode='json'))}"

    def store(self, run: RunSpec, source: Source) -> VectorStore:
        """The vectors of the texts, or a control in their place, drawn anew for every seed of the run."""
        store = vector_store(run.llm)
        return store if source == "text" else ControlStore(store, self.texts(run.text), source, run.seed)

    def prepare(self) -> None:
        """Makes log, ingested rows and features, unless they are there."""
        from elec.features.build import build_features
        from elec.ingest import ingest

        moment = datetime.now(UTC)
        if self.experiment.prepare:
            once(self.folder / "log", self._make_log)
        once(self.ingested, lambda folder: ingest(self.spec.dataset, folder, as_of=moment))
        feast = str(self.folder / "feast")
        once(
            self.features,
            lambda folder: build_features(self.spec, self.ingested, folder, feast_folder=feast, as_of=moment),
        )

    def textify(self, text: TextSpec) -> None:
        """Makes the texts, unless they are there; tags of long texts are kept for all samples."""
        from elec.text.textify import textify

        spec = self.spec.model_copy(update={"run": self.spec.run.model_copy(update={"text": text})})
        summaries = evidence_folder() / "summaries"
        once(self.texts(text), lambda folder: textify(spec, self.features, folder, summary_cache=summaries))

    def encode(self, run: RunSpec, shard: int, shards: int) -> None:
        """Encodes one shard of the texts that have no vector yet."""
        encode_shard(run.llm, self.texts(run.text), vector_store(run.llm), shard, shards, threads=1, device="cpu")

    def knowledge(self, run: RunSpec, source: Source) -> Path:
        """What the students read beside the fields, made unless it is there."""
        from elec.students.knowledge import build_knowledge

        spec = self.spec.model_copy(update={"run": run})
        return once(
            self.knowledge_folder(run, source),
            lambda folder: build_knowledge(spec, self.features, self.texts(run.text), self.store(run, source), folder),
        )

    def knowledge_folder(self, run: RunSpec, source: Source) -> Path:
        """Where that is."""
        parts = [run.text.model_dump(mode="json"), run.student.model_dump(mode="json"), llm_id(run.llm), source, run.seed]
        return self.folder / f"knowledge-{source}-{_hash(parts)}"

    def _make_log(self, folder: Path) -> None:
        parts = [part.format(folder=folder, seed=self.seed) for part in self.experiment.prepare]
        command = [sys.executable if parts[0] == "python" else parts[0], *parts[1:]]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise InputError(f"{self.experiment.name}: prepare cannot be started ({error}); correct `prepare`") from None
        if ended.returncode != 0:
            said = [line for line in (ended.stderr or ended.stdout).splitlines() if line.strip()] or ["it gave no reason"]
            raise InputError(f"{self.experiment.name}: `{' '.join(parts)}` failed ({said[-1]}); correct `prepare`")
        if not folder.is_dir():
            raise InputError(f"{self.experiment.name}: prepare did not make {folder}; it has to write there ({{folder}})")


def vector_store(llm: LlmSpec) -> VectorStore:
    """The vectors of all samples by one language model."""
    return VectorStore(str(evidence_folder() / "vectors"), llm_id(llm))


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Makes a folder unless it is there; of several processes that want it one makes it and the others wait.

    Args:
        folder: What is made.
        make: Makes it as a whole, or raises.
    """
    if not folder.exists():
        with _locked(folder):
            if not folder.exists():
                make(folder)
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _content_key(experiment: Experiment) -> str:
    """What the sample's content depends on: the spec or the command, and the source of the module that it runs."""
    parts: list[object] = [PREPARED_VERSION, list(experiment.prepare), experiment.spec]
    if experiment.spec is not None:
        parts.append(load_spec(experiment.spec).dataset.model_dump(mode="json"))
    if "-m" in experiment.prepare[:-1]:
        module = experiment.prepare[experiment.prepare.index("-m") + 1]
        parts += _sources(module)
    return _hash(parts)


def _sources(module: str) -> list[str]:
    """Hashes of a module's file, of those of its own package that it imports, and of the specs that they name."""
    package = module.rpartition(".")[0]
    files: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in files:
            # As `python -m` finds it: from the folder that the command is run in.
            files[name] = Path(*name.split(".")).with_suffix(".py")
            if not files[name].is_file():
                raise InputError(f"prepare: there is no {files[name]} here; run from the folder that holds it")
            found = re.findall(rf"^(?:from|import) ({re.escape(package)}\.\w+)", files[name].read_text(encoding="utf-8"), re.M)
            todo += found if package else []
    text = "".join(path.read_text(encoding="utf-8") for path in files.values())
    specs = [path for path in sorted(files[module].parent.glob("specs/*")) if path.name in text]
    return [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in [*sorted(files.values()), *specs]]


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
