"""How a run trains, judges and deploys: every setting has a default that works, and the spec's `run:` block changes it."""

from typing import Annotated, Literal

from pydantic import Field

from elec.spec.dataset import Frozen

Positive = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=1, le=8192)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
SecretKey = Annotated[str, Field(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[-._A-Za-z0-9]+$")]


class TextSpec(Frozen):
    """What the LLM reads.

    Attributes:
        per: `entity`: one text of the user and one of the item, encoded once each; `sample`: one text of the whole
            record, as in the paper.
        summarise_above: Text fields of more words than this become tags.
        tags: How many tags.
    """

    per: Literal["entity", "sample"] = "entity"
    summarise_above: int = Field(default=48, ge=8)
    tags: int = Field(default=8, ge=1, le=32)


class LlmSpec(Frozen):
    """The frozen language model.

    Attributes:
        name: `all-MiniLM-L6-v2` (from its package), or the folder of a Hugging Face model.
        max_tokens: Longer texts are cut.
        batch_size: Texts a forward pass.
        shards: Parallel encoding tasks at most.
        shard_size: A shard is opened for this many new texts.
    """

    name: str = "all-MiniLM-L6-v2"
    max_tokens: int = Field(default=128, ge=8, le=8192)
    batch_size: int = Field(default=64, ge=1)
    shards: int = Field(default=2, ge=1, le=256)
    shard_size: int = Field(default=1000, ge=1)


class AdaptSpec(Frozen):
    """Training of the M-LLM's transformation layer and prediction layer (BCE, the LLM frozen)."""

    layers: tuple[Width, ...] = (512, 256, 128)
    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    learning_rate: Positive = 3e-4
    weight_decay: float = Field(default=1e-2, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    patience: int = Field(default=2, ge=1)


class ModelSpec(Frozen):
    """The collaborative module of the gain and the vanilla network (the paper's default: DCNv2).

    Attributes:
        name: Which one.
        embedding: Width of a field's embedding.
        cross_layers: Of DCNv2.
        deep: Widths of the deep layers; the last is the high-level representation.
        structure: `stacked`: the crosses feed the deep layers; `parallel`: both read the embeddings.
        dropout: In the deep layers, in training.
    """

    name: Literal["dcnv2"] = "dcnv2"
    embedding: Width = 32
    cross_layers: int = Field(default=2, ge=1, le=16)
    deep: tuple[Width, ...] = (256, 128, 64)
    structure: Literal["stacked", "parallel"] = "stacked"
    dropout: float = Field(default=0.3, ge=0, lt=1)


class DistillSpec(Frozen):
    """Joint training of gain and vanilla: L = L_gain + L_van + L_score + alpha * L_rep (Eq. 5).

    Attributes:
        clid: `sum`: the listwise cross-entropy as CLID's own paper has it; `mean`: the ELEC paper's literal form, divided by N.
        score_weight: Weight of L_score; the paper's is 1.
        alpha: Weight of L_rep.
        epochs: At most.
        batch_size: Rows a step; they are also the list of L_score.
        learning_rate: Adam's, decayed linearly to 2% of it over all epochs.
        embedding_l2: L2 on the embeddings that a batch reads.
        patience: Epochs without a better validation LogLoss before training stops.
    """

    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=512, ge=2)
    learning_rate: Positive = 2e-3
    embedding_l2: float = Field(default=1e-3, ge=0)
    clid: Literal["sum", "mean"] = "sum"
    score_weight: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=1e-3, ge=0)
    patience: int = Field(default=2, ge=1)


class DriftSpec(Frozen):
    """The drift check's own rule.

    Attributes:
        warn_psi: A field whose PSI is above this is reported.
        retrain_psi: A field whose PSI is above this asks for retraining.
        block_psi: A field whose PSI is above this is taken for broken data; so is a key, by hash buckets.
        retrain_new_keys: A larger share of rows from users (or items) unknown to the reference asks for retraining.
        max_label_change: Relative change of the label rate that blocks.
        max_volume_change: Factor between the windows' rows a day that blocks (both ways).
        sample: Rows in Evidently's picture.
    """

    warn_psi: Positive = 0.1
    retrain_psi: Positive = 0.25
    block_psi: Positive = 5.0
    retrain_new_keys: float = Field(default=0.5, gt=0, le=1)
    max_label_change: Positive = 0.5
    max_volume_change: Positive = 10.0
    sample: int = Field(default=20_000, ge=100, le=50_000)


class GateSpec(Frozen):
    """When a challenger replaces the champion.

    Attributes:
        confidence: Of the user-clustered bootstrap interval.
        resamples: Of the bootstrap.
        min_auc: A first model has to reach this.
        pcoc: Predicted clicks over observed clicks has to lie within.
        max_latency_ms: For 100 candidates, one thread, in process.
    """

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=1000, ge=100)
    min_auc: float = Field(default=0.55, ge=0.5, lt=1)
    pcoc: tuple[float, float] = (0.8, 1.25)
    max_latency_ms: Positive = 10.0


class FeastSpec(Frozen):
    """Feast's online store.

    Attributes:
        online_store: `sqlite` beside the run's workspace, or `redis`.
        redis: `host:port[,password=${NAME}]` for `redis`; a secret stays an environment variable until it is used.
    """

    online_store: Literal["sqlite", "redis"] = "sqlite"
    redis: str | None = None


class DeploySpec(Frozen):
    """Where the bundle goes into service.

    Attributes:
        target: `local`: a server process that is questioned and stopped; `kserve`: an InferenceService on a GPU node.
        name: The service's name.
        namespace: Of the cluster.
        image: The serving image; empty for the one of this code version.
        gpus: `nvidia.com/gpu`, limit and request; 0 for the CPU variant.
        node_selector: Labels of the GPU pool.
        toleration: The key of the GPU pool's taint.
        cpu: CPU request and limit.
        memory: Memory request and limit.
        service_account: With access to the bundle's storage.
        replicas: At least.
    """

    target: Literal["local", "kserve"] = "local"
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$")] = "elec"
    namespace: str = "elec"
    image: str = ""
    gpus: int = Field(default=1, ge=0, le=8)
    node_selector: dict[str, str] = Field(default_factory=lambda: {"nvidia.com/gpu.present": "true"})
    toleration: str = "nvidia.com/gpu"
    cpu: str = "2"
    memory: str = "4Gi"
    service_account: str = "elec-serving"
    replicas: int = Field(default=1, ge=1)


class ClusterSpec(Frozen):
    """What the pipeline's tasks ask of the cluster.

    Attributes:
        registry: Where the images are, such as `registry.example/team`; empty for a bare name.
        gpus: Of the encoding and training tasks; 0 for CPU.
        node_selector: Labels of the GPU pool.
        toleration: The key of the GPU pool's taint.
        s3_secret: Name of the secret with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; empty for none.
        s3_endpoint: For an S3 server of one's own.
        secrets: More environment variables from secrets: `{REDIS_PASSWORD: redis/password}` reads the key `password` of the
            secret `redis`.
        cpu: CPU limit of a heavy task.
        memory: Memory limit of a heavy task.
        retries: Of a task whose pod is lost or fails, with a growing wait; laptop runs never retry.
    """

    registry: str = ""
    gpus: int = Field(default=1, ge=0, le=8)
    node_selector: dict[str, str] = Field(default_factory=lambda: {"nvidia.com/gpu.present": "true"})
    toleration: str = "nvidia.com/gpu"
    s3_secret: str = ""
    s3_endpoint: str = ""
    secrets: dict[EnvironmentName, SecretKey] = Field(default_factory=dict)
    cpu: Annotated[str, Field(pattern=r"^([0-9]+([.][0-9]+)?|[0-9]+m)$")] = "4"
    memory: Annotated[str, Field(pattern=r"^[0-9]+(Ki|Mi|Gi|Ti|K|M|G|T)?$")] = "16G"
    retries: int = Field(default=2, ge=0, le=10)


class RunSpec(Frozen):
    """Everything about a run but its data.

    Attributes:
        seed: Of every random number.
        retrain: `always`: a run trains unless the drift check blocks it; `drift`: only when the drift check asks for it.
    """

    seed: int = Field(default=2025, ge=0, lt=2**31)
    retrain: Literal["always", "drift"] = "always"
    text: TextSpec = TextSpec()
    llm: LlmSpec = LlmSpec()
    adapt: AdaptSpec = AdaptSpec()
    model: ModelSpec = ModelSpec()
    distill: DistillSpec = DistillSpec()
    drift: DriftSpec = DriftSpec()
    gate: GateSpec = GateSpec()
    feast: FeastSpec = FeastSpec()
    deploy: DeploySpec = DeploySpec()
    cluster: ClusterSpec = ClusterSpec()
