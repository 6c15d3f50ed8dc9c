"""Answers as tables that people read, a file a command: 80 columns wide, without boxes, without colour."""
