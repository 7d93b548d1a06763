"""Floor 2: one file per Kubeflow Pipelines component, each an adapter around one call of the library."""
