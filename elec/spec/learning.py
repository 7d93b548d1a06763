"""How a run learns: what the LLM reads, how it is adapted, which networks are trained and how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from elec.spec.frozen import Frozen

Positive = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=1, le=8192)]


class TextSpec(Frozen):
    """What the LLM reads.

    Attributes:
        per: `entity`: one text of the user and one of the item, encoded once each; `sample`: one text of the whole
            record, as in the paper.
        history: The user's text also holds the texts of this many items that the user clicked last, strictly before the
            event; 0 for none.
        summarise_above: Text fields of more words than this become tags.
        tags: How many tags.
    """

    per: Literal["entity", "sample"] = "entity"
    history: int = Field(default=0, ge=0, le=100)
    summarise_above: int = Field(default=48, ge=8)
    tags: int = Field(default=8, ge=1, le=32)


class LlmSpec(Frozen):
    """The frozen language model.

    Attributes:
        name: `all-MiniLM-L6-v2`, `all-mpnet-base-v2` or `SmolLM2-135M-Instruct` (from their packages), or the folder of a
            Hugging Face model.
        max_tokens: Longer texts are cut.
        precision: Of the forward pass. `auto`: bfloat16 where the device has instructions for it, else float32; their
            vectors are alike (cosine above 0.9999).
        batch_size: Texts a forward pass.
        shards: Parallel encoding tasks at most.
        shard_size: A shard is opened for this many new texts.
    """

    name: str = "all-MiniLM-L6-v2"
    max_tokens: int = Field(default=128, ge=8, le=8192)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
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
        cross_rank: Rank of DCNv2's cross matrices; full rank when left out.
        structure: Of DCNv2. `stacked`: the crosses feed the deep layers; `parallel`: both read the embeddings.
        attention_layers: Of AutoInt.
        attention_heads: Of AutoInt.
        attention_size: Of AutoInt: width of all heads together.
        deep: Widths of the deep layers; the last is the high-level representation.
        dropout: In the deep layers, in training.
    """

    name: Literal["dnn", "deepfm", "autoint", "dcnv2"] = "dcnv2"
    embedding: Width = 32
    cross_layers: int = Field(default=2, ge=1, le=16)
    cross_rank: Width | None = None
    structure: Literal["stacked", "parallel"] = "stacked"
    attention_layers: int = Field(default=2, ge=1, le=16)
    attention_heads: int = Field(default=2, ge=1, le=64)
    attention_size: Width = 64
    deep: tuple[Width, ...] = (256, 128, 64)
    dropout: float = Field(default=0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> Self:
        if self.attention_size % self.attention_heads:
            raise ValueError(
                f"`attention_size` {self.attention_size} cannot be shared evenly by {self.attention_heads} `attention_heads`"
            )
        return self


class TrainingSpec(Frozen):
    """The training engine: how fast, not what.

    Attributes:
        table_optimiser: Of the embedding table, on the rows that a batch reads: `lazy_adam`, or `rowwise_adagrad` with one
            number of state a row; `adam` steps the whole table.
        precision: Of the dense half. `auto`: bfloat16 where a short probe finds it faster and the loss the same.
        compile: Of the dense half. `auto`: where the same probe finds it faster and the loss the same.
        memory: Rows are kept in memory up to this size; larger data streams from Parquet.
        checkpoint_seconds: A resumable checkpoint at most this often; 0 for one after every epoch only.
    """

    table_optimiser: Literal["lazy_adam", "rowwise_adagrad", "adam"] = "lazy_adam"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    memory: Annotated[str, Field(pattern=r"^[0-9]+(Ki|Mi|Gi|Ti|K|M|G|T)?$")] = "2Gi"
    checkpoint_seconds: int = Field(default=60, ge=0)


class UnlabelledSpec(Frozen):
    """Pairs of a user and an item that were never shown: only the teacher says what it thinks of them.

    Attributes:
        share: Pairs for every labelled row; 0 for none.
        weight: Of their loss.
        items: How their items are drawn from the train rows: `uniform` over distinct items, or by `popularity`.
        teacher: Who says what to think of them: the `gain` network, by L_score and L_rep, or the M-LLM itself, by L_score. What
            the gain network has learnt by heart of the ids says little about other pairs; on sparse data the `mllm` is better.
    """

    share: float = Field(default=0.0, ge=0, le=10)
    weight: float = Field(default=1.0, ge=0)
    items: Literal["uniform", "popularity"] = "uniform"
    teacher: Literal["gain", "mllm"] = "gain"


class DistillSpec(Frozen):
    """Training of gain and vanilla: L = L_gain + L_van + L_score + alpha * L_rep (Eq. 5).

    Attributes:
        mode: `joint`: both at once, as in Eq. 5; `two_stage`: the gain network first, then the vanilla network from its best.
        clid: `sum`: the listwise cross-entropy as CLID's own paper has it; `mean`: the ELEC paper's literal form, divided by N.
        score_weight: Weight of L_score; the paper's is 1.
        alpha: Weight of L_rep.
        epochs: At most.
        batch_size: Rows a step; they are also the list of L_score.
        learning_rate: Adam's, decayed linearly to 2% of it over all epochs.
        embedding_l2: L2 on the embeddings that a batch reads.
        patience: Epochs without a better validation LogLoss before training stops.
        calibrate: After training, the bias of each network's prediction layer is moved so that predicted clicks are as many as
            observed ones on the validation rows; the order of the predictions stays.
        warm_start: Whether training starts from the champion's weights, where there is a champion with the same model.
        unlabelled: Pairs that only the teacher scores.
    """

    mode: Literal["joint", "two_stage"] = "joint"
    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=512, ge=2)
    learning_rate: Positive = 2e-3
    embedding_l2: float = Field(default=1e-3, ge=0)
    clid: Literal["sum", "mean"] = "sum"
    score_weight: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=1e-3, ge=0)
    patience: int = Field(default=2, ge=1)
    calibrate: bool = True
    warm_start: bool = False
    unlabelled: UnlabelledSpec = UnlabelledSpec()


class StudentSpec(Frozen):
    """What the network that serves may read; none of them runs the LLM online.

    Attributes:
        train: `vanilla`: the tabular fields (the paper's); `semantic_ids`: also residual k-means codes of the item's text
            vector, as tabular fields; `vectors`: also the item's and the user's text vector, looked up in Feast. The best one
            on the validation rows that meets the latency budget becomes the challenger.
        levels: Codes of a semantic id.
        codes: Values of each code.
        vector_size: Dimensions that the text vectors are reduced to (PCA).
        history: The user's vector is the mean over at most this many items that the user clicked last.
    """

    train: tuple[Literal["vanilla", "semantic_ids", "vectors"], ...] = ("vanilla",)
    levels: int = Field(default=3, ge=1, le=8)
    codes: int = Field(default=64, ge=2, le=4096)
    vector_size: int = Field(default=64, ge=2, le=4096)
    history: int = Field(default=50, ge=1, le=1000)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if not self.train or len(set(self.train)) < len(self.train):
            raise ValueError("`train` has to name one student at least, and each only once")
        return self
