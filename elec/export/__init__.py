"""Export: a trained network becomes a bundle; it runs where there is torch, and nothing that serves imports it."""
