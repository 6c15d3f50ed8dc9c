"""The fit of single-GPU rates and its cross-validation."""
