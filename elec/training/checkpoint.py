"""A trained model's folder: weights as safetensors, everything else as JSON. Complete, or not there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from elec.errors import InputError
from elec.models import Field, GainNetwork, VanillaNetwork, gain_network, vanilla_network
from elec.spec.learning import DistillSpec, ModelSpec

Network = Literal["vanilla", "gain", "plain"]
StudentName = Literal["vanilla", "semantic_ids", "vectors"]


class FieldRecord(BaseModel):
    """One encoded field, as `model.json` holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    width: int
    size: int
    kind: str


class ModelRecord(BaseModel):
    """`model.json`: all that is needed to build the networks again.

    Attributes:
        schema_version: Of this file.
        student: Which student the networks are; its teacher and its rival read the same.
        model: The collaborative module.
        fields: What it reads, in the order of the slots.
        llm_size: Width of the M-LLM's representation that the gain network reads; 0 for none.
        vector_size: Dimensions of the text vectors that the networks read beside the fields; 0 for none.
        settings: What it was trained with.
        seed: What it was seeded with.
        best_epochs: A network; its weights are those of this epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    student: StudentName = "vanilla"
    model: ModelSpec
    fields: tuple[FieldRecord, ...]
    llm_size: int
    vector_size: int = 0
    settings: DistillSpec
    seed: int
    best_epochs: dict[str, int]


def field_records(fields: Sequence[Field]) -> tuple[FieldRecord, ...]:
    """The fields as `model.json` holds them."""
    return tuple(FieldRecord(name=field.name, width=field.width, size=field.size, kind=str(field.kind)) for field in fields)


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes a network's parameters as safetensors.

    Args:
        network: On any device.
        path: The file.
    """
    save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, path)


def load_record(folder: Path) -> ModelRecord:
    """Reads `model.json`.

    Raises:
        InputError: If the folder holds no model.
    """
    path = folder / "model.json"
    try:
        return ModelRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder of a trained model") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: {where} is not as this version of elec writes it ({first['msg']}); train anew") from None


def load_network(folder: Path, name: Network = "vanilla") -> VanillaNetwork | GainNetwork:
    """A trained network on the CPU, in evaluation mode.

    Args:
        folder: Of a trained model.
        name: `vanilla`, `gain` or `plain`.

    Raises:
        InputError: If the folder holds no such model, or weights and description do not fit.
    """
    record = load_record(folder)
    network = (
        gain_network(record.fields, record.model, record.llm_size, record.vector_size)
        if name == "gain"
        else vanilla_network(record.fields, record.model, record.vector_size)
    )
    path = folder / f"{name}.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; give the folder of a trained model") from None
    except (SafetensorError, RuntimeError) as error:
        detail = str(error).splitlines()[0]
        raise InputError(f"{path}: does not hold the weights that model.json describes ({detail}); train anew") from None
    return network.eval()
