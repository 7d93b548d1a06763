"""Feast's objects of one data set, found here by Feast's own commands.

    export ELEC_SPEC=movielens-100k                                    # or the path of a YAML file
    export FEAST_FS_YAML_FILE_PATH=$PWD/runs/feast/feature_store.yaml  # written by the run, in its workspace
    feast -c feature_repo plan
    feast -c feature_repo ui --host 127.0.0.1                          # entities, views and services, on port 8888

The objects are made from the spec by `elec.features.definitions`, beside those that earlier specs left in the registry; the
data lies beside `feature_store.yaml`.
"""

import os

import yaml

from elec import storage
from elec.errors import InputError
from elec.features.definitions import definitions, project_name, vector_definitions, wanted_views
from elec.features.feast_registry import read_registry
from elec.features.store_config import feast_root
from elec.features.vectors import published_vectors
from elec.features.versions import versions
from elec.spec import load_spec

for _variable, _content in (
    ("ELEC_SPEC", "the spec's name or file"),
    ("FEAST_FS_YAML_FILE_PATH", "the feature_store.yaml of a workspace"),
):
    if not os.environ.get(_variable):
        raise InputError(f"feature_repo needs the environment variable {_variable}: {_content}; export {_variable}=...")

_dataset = load_spec(os.environ["ELEC_SPEC"]).dataset
_settings = os.environ["FEAST_FS_YAML_FILE_PATH"]
_feast_folder = feast_root(_settings.rpartition("/")[0] or ".")

_project = project_name(_dataset.name)
_data = storage.join(_feast_folder, "data", _project)
_registry = read_registry(yaml.safe_load(storage.read_bytes(_settings))["registry"]["path"], _project)
_objects = definitions(_dataset, versions(_project, wanted_views(_dataset), _registry), _data)
# Views of text vectors are of a run, not of the spec: those whose rows lie there stay.
for _views in published_vectors(_data):
    _objects += vector_definitions(_dataset, _views, _data)

# Feast looks at the module's attributes.
globals().update({f"{type(_object).__name__}_{_object.name}": _object for _object in _objects})
