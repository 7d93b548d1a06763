"""How a bundle serves and goes into service: the bounds of a server, the canary, and what a cluster is asked for."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from elec.spec.frozen import Frozen
from elec.spec.learning import Positive

Quantity = Annotated[str, Field(pattern=r"^[0-9]+([.][0-9]+)?(m|Ki|Mi|Gi|Ti|K|M|G|T)?$")]
DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$")]


class ServingSpec(Frozen):
    """The bounds of a server, and what it keeps. `elec serve --set NAME=VALUE` changes any of them for one server.

    Attributes:
        precision: `float32`; `auto` also builds bfloat16 and int8 variants and takes the fastest that LogLoss and PCOC allow.
        split: The item's part of the network is computed once an item and kept; `false` computes all of it every time.
        device: Where the network runs: `auto` takes a GPU if ONNX Runtime has one.
        threads: Of one run of the network.
        body_bytes: Largest body of a request.
        rows: Most rows, or candidates, of a request.
        queue: Most requests that wait or are worked on; one more is answered with 429 and Retry-After.
        timeout_seconds: A request that is not answered by then is answered with 503.
        drain_seconds: Requests in progress have this long after SIGTERM.
        items: Most items whose part is kept.
        item_seconds: How long an item's part is kept before the feature store is asked again.
        without_store: When the feature store does not answer: `refuse` with 503, or `degrade`: score with what is kept and
            with missing values for the rest, and say so in the answer.
        token: Environment variable with the bearer token that requests have to carry; empty for none.
        watch_seconds: How often a server of a workspace's champion looks for a new one; 0 never.
        log_share: Share of requests whose predictions are logged.
        log_bytes: Most bytes of prediction log on disk; the oldest files go first.
        log_seconds: A log file is closed after this long.
        log_rows: A log file is closed after this many rows.
    """

    precision: Literal["float32", "auto"] = "float32"
    split: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1, le=256)
    body_bytes: int = Field(default=8 * 2**20, ge=1024, le=2**30)
    rows: int = Field(default=1000, ge=1, le=100_000)
    queue: int = Field(default=64, ge=1, le=100_000)
    timeout_seconds: Positive = 2.0
    drain_seconds: Positive = 10.0
    items: int = Field(default=100_000, ge=0, le=50_000_000)
    item_seconds: Positive = 300.0
    without_store: Literal["refuse", "degrade"] = "refuse"
    token: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    watch_seconds: float = Field(default=5.0, ge=0, le=3600)
    log_share: float = Field(default=0.0, ge=0, le=1)
    log_bytes: int = Field(default=2**30, ge=2**20)
    log_seconds: Positive = 60.0
    log_rows: int = Field(default=100_000, ge=1)


class CanarySpec(Frozen):
    """The challenger answers a share of the traffic first, and is promoted or rolled back by what is seen.

    Attributes:
        share: Of the traffic, in percent; 0 skips the canary.
        seconds: How long it is watched.
        requests: Fewer than this from the challenger in that time is no evidence: it is rolled back.
        max_error_rate: Of the challenger's answers.
        max_latency_ratio: The challenger's p99 over the champion's.
        max_score_psi: Population stability index between the scores of the two.
    """

    share: int = Field(default=0, ge=0, le=50)
    seconds: Positive = 300.0
    requests: int = Field(default=200, ge=1)
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    max_latency_ratio: Positive = 1.5
    max_score_psi: Positive = 0.25


class ScalingSpec(Frozen):
    """How many replicas a service has.

    Attributes:
        least: Replicas that are always there.
        most: Replicas under load; equal to `least` there is no autoscaler.
        cpu_percent: Mean CPU use, of the request, that the autoscaler holds.
    """

    least: int = Field(default=1, ge=1, le=1000)
    most: int = Field(default=1, ge=1, le=1000)
    cpu_percent: int = Field(default=60, ge=10, le=95)

    @model_validator(mode="after")
    def _in_order(self) -> "ScalingSpec":
        if self.most < self.least:
            raise ValueError(f"most is {self.most}, less than least, {self.least}")
        return self


class DeploySpec(Frozen):
    """Where the bundle goes into service.

    Attributes:
        target: `local`: server processes on this machine that are questioned and stopped; `kserve`: an InferenceService.
        name: The service's name.
        namespace: Of the cluster.
        mode: KServe's deployment mode: `Standard` (a Deployment) or `Knative`.
        image: The serving image; empty for the one of this code version.
        gpus: `nvidia.com/gpu`, limit and request; 0 for the CPU variant.
        node_selector: Labels of the GPU pool.
        toleration: The key of the GPU pool's taint.
        cpu: CPU request and limit.
        memory: Memory request and limit.
        service_account: With access to the bundle's storage.
        scaling: How many replicas.
        canary: Of a challenger.
        clients: Labels of the pods that may send requests; empty for every pod of the namespace.
        monitoring: Label `release` of the Prometheus that shall find the service; empty for no ServiceMonitor.
    """

    target: Literal["local", "kserve"] = "local"
    name: DnsLabel = "elec"
    namespace: DnsLabel = "elec"
    mode: Literal["Standard", "Knative"] = "Standard"
    image: str = ""
    gpus: int = Field(default=1, ge=0, le=8)
    node_selector: dict[str, str] = Field(default_factory=lambda: {"nvidia.com/gpu.present": "true"})
    toleration: str = "nvidia.com/gpu"
    cpu: Quantity = "2"
    memory: Quantity = "4Gi"
    service_account: DnsLabel = "elec-serving"
    scaling: ScalingSpec = ScalingSpec()
    canary: CanarySpec = CanarySpec()
    clients: dict[str, str] = Field(default_factory=dict)
    monitoring: str = ""
