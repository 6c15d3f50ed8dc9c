"""Image files in one folder per class: listing and decoding; errors name the file."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from lbsim.errors import InputError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes of image files; other files are ignored."""

__all__ = ["SUFFIXES", "classes", "labelled", "read", "same_classes"]


def classes(folder: Path) -> list[str]:
    """Return the sorted names of the folders in *folder*; the index of a name is its label."""
    if not folder.is_dir():
        raise InputError(
            f"--folder {folder.parent}: no folder '{folder.name}' in it; create it, with one folder per class"
        )
    with os.scandir(folder) as entries:
        found = sorted(entry.name for entry in entries if entry.is_dir())
    if not found:
        raise InputError(f"--folder {folder.parent}: no images in '{folder.name}'; put them in one folder per class")
    return found


def same_classes(folder: Path, parts: Sequence[str]) -> list[str]:
    """Return the classes of *folder*; InputError unless all its *parts* have the same, so that labels agree."""
    first, *others = [classes(folder / part) for part in parts]
    for part, other in zip(parts[1:], others, strict=True):
        for name in sorted(set(first) ^ set(other)):
            has, lacks = (parts[0], part) if name in first else (part, parts[0])
            raise InputError(
                f"--folder {folder}: class '{name}' is in '{has}' and not in '{lacks}'; both must have the same classes"
            )
    return first


def labelled(folder: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    """Return the images below the folders *names* of *folder* with their labels, sorted by name.

    Raises InputError for a class without images.
    """
    images: list[tuple[str, int]] = []
    for label, name in enumerate(names):
        of_class = [(file, label) for file in _files(folder / name)]
        if not of_class:
            raise InputError(
                f"--folder {folder.parent}: no images in '{folder.name}/{name}'; put some there "
                f"({', '.join(SUFFIXES)}), or remove the folder"
            )
        images += of_class
    return images


def read(file: str) -> Image.Image:
    """Return the RGB image in *file*; InputError if it cannot be decoded."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except Exception as error:  # decoders raise many types for a damaged file
        reason = str(error).replace(f"{file!r}", "it")
        raise InputError(f"{file}: not readable as an image ({reason}); replace or remove it") from None


def _files(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (f"{parent}{os.sep}{file}" for file in sorted(files) if file.lower().endswith(SUFFIXES))
