"""The image that components run in, named by the code's version, so that a cached result never belongs to other code."""

from elec.version import image_tag

#: The registry is put in front when the pipeline is compiled for a cluster.
TRAINING_IMAGE = f"elec-training:{image_tag()}"
