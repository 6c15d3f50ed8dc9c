"""Paths of the data files that lbsim ships: profiles, published cases and recipes."""

from pathlib import Path

__all__ = ["PACKAGE", "data_folder"]

PACKAGE = Path(__file__).parent
"""Folder of the package. `importlib.resources.files` returns the same path, but its first call takes 5 ms."""


def data_folder(*parts: str) -> Path:
    """Return the folder of shipped data at *parts*, for example ``data_folder("traces", "published")``.

    A wheel carries the data inside the package; a checkout keeps it beside the package.

    FileNotFoundError if neither folder exists, which means that the installation is incomplete.

    >>> data_folder("hardware_profiles").joinpath("links", "ib-fdr.toml").is_file()
    True
    """
    for root in (PACKAGE, PACKAGE.parent):
        if (folder := root.joinpath(*parts)).is_dir():
            return folder
    raise FileNotFoundError(f"no folder {'/'.join(parts)} in {PACKAGE} or {PACKAGE.parent}; reinstall lbsim")
