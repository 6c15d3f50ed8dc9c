"""Evaluation of predictions against published and measured numbers."""
