"""The models that ship, one a file; each file has ``build() -> Workload``."""
