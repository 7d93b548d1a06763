"""How a run trains, judges and deploys: every setting has a default that works, and the spec's `run:` block changes it."""

from typing import Annotated, Literal

from pydantic import Field

from elec.spec.frozen import Frozen
from elec.spec.learning import AdaptSpec, DistillSpec, LlmSpec, ModelSpec, Positive, StudentSpec, TextSpec, TrainingSpec
from elec.spec.serving import DeploySpec, ServingSpec

EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
SecretKey = Annotated[str, Field(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[-._A-Za-z0-9]+$")]


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
    """Feast's online store, and the join of the training frame.

    Attributes:
        join: `fast`: DuckDB joins the log with the files of Feast's views; `feast`: Feast's own `get_historical_features`,
            which gives the same rows in several times as long; its offline store joins where `run.data.engine` says.
        online_store: `sqlite` beside the run's workspace, or `redis`.
        redis: `host:port[,password=${NAME}]` for `redis`; a secret stays an environment variable until it is used.
    """

    join: Literal["fast", "feast"] = "fast"
    online_store: Literal["sqlite", "redis"] = "sqlite"
    redis: str | None = None


class DataEngineSpec(Frozen):
    """Where a run's data is read, joined and encoded.

    Attributes:
        engine: `local`: in the step's own process; `ray`: in the workers of Ray, which is a RayJob of the cluster where the
            pipeline runs on one (KubeRay has to be installed there), or else processes of this machine.
        workers: Of `ray`: pods, each with `run.cluster`'s `cpu` and `memory`, or processes of this machine.
    """

    engine: Literal["local", "ray"] = "local"
    workers: int = Field(default=2, ge=1, le=512)


class ClusterSpec(Frozen):
    """What the pipeline's tasks ask of the cluster.

    Attributes:
        registry: Where the images are, such as `registry.example/team`; empty for a bare name.
        gpus: Of the encoding and training tasks; 0 for CPU.
        nodes: The networks are trained on this many nodes together, each with `gpus`, `cpu` and `memory`; 1 trains in the
            task's own pod, more need Kubeflow Trainer and a workspace on S3.
        training_runtime: Kubeflow Trainer's ClusterTrainingRuntime for more nodes than one.
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
    nodes: int = Field(default=1, ge=1, le=64)
    training_runtime: Annotated[str, Field(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")] = "torch-distributed"
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
    training: TrainingSpec = TrainingSpec()
    distill: DistillSpec = DistillSpec()
    student: StudentSpec = StudentSpec()
    drift: DriftSpec = DriftSpec()
    gate: GateSpec = GateSpec()
    feast: FeastSpec = FeastSpec()
    data: DataEngineSpec = DataEngineSpec()
    serving: ServingSpec = ServingSpec()
    deploy: DeploySpec = DeploySpec()
    cluster: ClusterSpec = ClusterSpec()
