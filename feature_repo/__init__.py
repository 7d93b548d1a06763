"""The Feast repository: `feast -c feature_repo ...` finds its objects in `definitions.py`."""
