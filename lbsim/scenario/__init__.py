"""The scenario: cluster, model, software and plan."""
