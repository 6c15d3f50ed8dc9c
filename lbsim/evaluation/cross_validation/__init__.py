"""Cross-validation over observations of several GPUs."""
