"""Accuracy of predictions against published and measured rows; nothing below imports it."""
