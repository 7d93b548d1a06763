"""Training on several nodes of a cluster: a Kubeflow Trainer job that the distillation step starts, watches and removes."""
