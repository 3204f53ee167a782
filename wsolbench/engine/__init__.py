"""Training and inference."""
