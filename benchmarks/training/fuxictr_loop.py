"""FuxiCTR's own training loop over DCNv2 made of FuxiCTR's own layers. Runs in FuxiCTR's environment and knows nothing of elec.

`throughput` starts it with a task as JSON: folder, fields, sizes, learning rate, threads, `workers` (loader processes).
Prints one line of JSON: samples a second of the training steps (validation not counted) and the validation AUC.
"""

import json
import sys
import time
from collections import OrderedDict
from pathlib import Path

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader
from fuxictr.pytorch.layers import CrossNetV2, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import nn


class DCNv2(BaseModel):
    """Stacked DCNv2, as large as elec's."""

    def __init__(self, feature_map, embedding, deep, cross_layers, learning_rate, folder):
        super().__init__(
            feature_map,
            model_id="dcnv2",
            gpu=-1,
            verbose=0,
            model_root=folder,
            metrics=["AUC", "logloss"],
            embedding_regularizer=None,
            net_regularizer=None,
        )
        self.embedding_layer = FeatureEmbedding(feature_map, embedding)
        size = feature_map.sum_emb_out_dim()
        self.cross = CrossNetV2(size, cross_layers)
        self.deep = MLP_Block(input_dim=size, output_dim=None, hidden_units=deep, hidden_activations="ReLU", dropout_rates=0)
        self.fc = nn.Linear(deep[-1], 1)
        self.compile("adam", "binary_crossentropy", learning_rate)
        self.reset_parameters()
        self.model_to_device()
        self.seconds_of_validation = 0.0
        self.found = {}

    def forward(self, inputs):
        """Probabilities of a batch."""
        vectors = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        return {"y_pred": self.output_activation(self.fc(self.deep(self.cross(vectors))))}

    def eval_step(self):
        """Validates as FuxiCTR does, with a watch on it."""
        started = time.perf_counter()
        self.found = self.evaluate(self.valid_gen, metrics=["AUC", "logloss"])
        self.checkpoint_and_earlystop(self.found)
        self.train()
        self.seconds_of_validation += time.perf_counter() - started


def main():
    """Trains once."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    Path(task["folder"], "made").mkdir(exist_ok=True)
    torch.manual_seed(1)
    fields = FeatureMap("made", task["folder"])
    fields.features = OrderedDict(
        (name, {"type": "categorical", "vocab_size": size, "source": ""}) for name, size in task["fields"]
    )
    fields.labels = ["label"]
    fields.default_emb_dim = task["embedding"]
    fields.num_fields = len(task["fields"])
    fields.set_column_index()
    train = NpzDataLoader(
        fields, f"{task['folder']}/train.npz", batch_size=task["batch_size"], shuffle=True, num_workers=task["workers"]
    )
    valid = NpzDataLoader(fields, f"{task['folder']}/valid.npz", batch_size=task["batch_size"], num_workers=0)
    model = DCNv2(fields, task["embedding"], task["deep"], task["cross_layers"], task["learning_rate"], task["folder"])
    started = time.perf_counter()
    model.fit(train, epochs=task["epochs"], validation_data=valid)
    seconds = time.perf_counter() - started - model.seconds_of_validation
    rate = task["epochs"] * train.num_samples / seconds
    print(json.dumps({"samples_per_second": rate, "auc": model.found["AUC"], "logloss": model.found["logloss"]}))


if __name__ == "__main__":
    main()
