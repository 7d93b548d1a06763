"""What a task asks of the cluster: resources, a GPU node, credentials, retries, and not to run as root.

Laptop runs (`kfp.local`) ignore all of it except the retries: build the pipeline with `retries=0` there, or a wrong file
name is tried three times.

Nothing is cached by Kubeflow unless asked for. Each step writes its record into the run's folder, which a cache hit would
skip; what is worth keeping between runs, the vectors of the texts, is kept by content in the vector store.
"""

from kfp import kubernetes
from kfp.dsl import PipelineTask

from elec.spec.run import ClusterSpec

GPU = "nvidia.com/gpu"
#: Seconds before the first retry; doubled each time.
BACKOFF = 30
BACKOFF_LIMIT = 600
#: Limits of a task that only writes a page or raises an error.
LIGHT_CPU = "1"
LIGHT_MEMORY = "2G"


def place(
    task: PipelineTask,
    cluster: ClusterSpec,
    *,
    gpu: bool = False,
    light: bool = False,
    cached: bool = False,
    retry: bool = True,
) -> PipelineTask:
    """Gives a task its place on the cluster.

    Args:
        task: A task, inside a pipeline function.
        cluster: The spec's cluster settings.
        gpu: The task computes on a GPU, if the cluster's settings have one.
        light: The task computes nothing: small limits.
        cached: The task has no side effect, so Kubeflow may reuse an earlier result.
        retry: A lost pod may be replaced; `False` for a task that fails on purpose.

    Returns:
        The task, to be chained.
    """
    if cluster.registry:
        task.set_container_image(f"{cluster.registry.rstrip('/')}/{_image(task)}")
    task.set_cpu_limit(LIGHT_CPU if light else cluster.cpu)
    task.set_memory_limit(LIGHT_MEMORY if light else cluster.memory)
    task.set_caching_options(enable_caching=cached)
    if retry and cluster.retries:
        task.set_retry(
            num_retries=cluster.retries,
            backoff_duration=f"{BACKOFF}s",
            backoff_factor=2.0,
            backoff_max_duration=f"{BACKOFF_LIMIT}s",
        )
    if gpu and cluster.gpus:
        _on_gpu_node(task, cluster)
    _credentials(task, cluster)
    # The image's user is numeric, so the kubelet can check this; the number itself is the image's (or OpenShift's) to choose.
    kubernetes.set_security_context(task, run_as_non_root=True)
    return task


def _image(task: PipelineTask) -> str:
    container = task.container_spec
    if container is None:
        raise ValueError(f"{task.name}: only a task that runs in a container can be placed")
    return str(container.image)


def _on_gpu_node(task: PipelineTask, cluster: ClusterSpec) -> None:
    task.set_accelerator_type(GPU)
    task.set_accelerator_limit(cluster.gpus)
    for label, value in cluster.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    if cluster.toleration:
        # `Exists`: the pool's taint is recognised by its key, whatever its value.
        kubernetes.add_toleration(task, key=cluster.toleration, operator="Exists", effect="NoSchedule")


def _credentials(task: PipelineTask, cluster: ClusterSpec) -> None:
    """Credentials come from secrets, by name; a value never reaches the compiled pipeline."""
    if cluster.s3_secret:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        kubernetes.use_secret_as_env(task, cluster.s3_secret, {name: name for name in names})
    if cluster.s3_endpoint:
        task.set_env_variable("AWS_ENDPOINT_URL", cluster.s3_endpoint)
    for variable, place_of_secret in cluster.secrets.items():
        secret, key = place_of_secret.split("/")
        kubernetes.use_secret_as_env(task, secret, {key: variable})
