"""Recipes, laws of convergence and time to accuracy."""
