"""Questions that take many predictions."""
