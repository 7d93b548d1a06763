"""What a server tells of itself: figures, log lines, a sample of its predictions."""
