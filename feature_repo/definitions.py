"""Feast's objects of one data set, found here by Feast's own commands.

    export ELEC_SPEC=movielens-100k                                    # or the path of a YAML file
    export FEAST_FS_YAML_FILE_PATH=$PWD/runs/feast/feature_store.yaml  # written by the run, in its workspace
    feast -c feature_repo plan

The objects are made from the spec by `elec.features.definitions`; the data lies beside `feature_store.yaml`.
"""

import os

from elec import storage
from elec.errors import InputError
from elec.features.definitions import definitions, project_name, vector_definitions
from elec.features.store_config import feast_root
from elec.features.vectors import published_vectors
from elec.spec import load_spec

for _variable, _content in (
    ("ELEC_SPEC", "the spec's name or file"),
    ("FEAST_FS_YAML_FILE_PATH", "the feature_store.yaml of a workspace"),
):
    if not os.environ.get(_variable):
        raise InputError(f"feature_repo needs the environment variable {_variable}: {_content}; export {_variable}=...")

_dataset = load_spec(os.environ["ELEC_SPEC"]).dataset
_feast_folder = feast_root(os.environ["FEAST_FS_YAML_FILE_PATH"].rpartition("/")[0] or ".")

_data = storage.join(_feast_folder, "data", project_name(_dataset.name))
_objects = definitions(_dataset, _data)
# Views of text vectors are of a run, not of the spec: those whose rows lie there stay.
for _views in published_vectors(_data):
    _objects += vector_definitions(_dataset, _views, _data)

# Feast looks at the module's attributes.
globals().update({f"{type(_object).__name__}_{_object.name}": _object for _object in _objects})
