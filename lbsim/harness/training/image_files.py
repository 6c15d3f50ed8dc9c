"""Images in a folder a class, found and read; what is wrong with one is said by its name."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from lbsim.errors import InputError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of images; other files are passed over."""


def classes(folder: Path) -> list[str]:
    """Return the names of the folders in *folder*, in their order; the place of each is its label."""
    if not folder.is_dir():
        raise InputError(f"--folder {folder.parent}: no folder '{folder.name}' in it; a folder a class must be in that")
    with os.scandir(folder) as entries:
        found = sorted(entry.name for entry in entries if entry.is_dir())
    if not found:
        raise InputError(f"--folder {folder.parent}: no images in '{folder.name}'; put them in a folder a class")
    return found


def same_classes(folder: Path, parts: Sequence[str]) -> list[str]:
    """Return the classes in each of the *parts* of *folder*, which must all have the same: a label is a place."""
    first, *others = [classes(folder / part) for part in parts]
    for part, other in zip(parts[1:], others, strict=True):
        for name in sorted(set(first) ^ set(other)):
            has, lacks = (parts[0], part) if name in first else (part, parts[0])
            raise InputError(
                f"--folder {folder}: class '{name}' is in '{has}' and not in '{lacks}'; both must have the same classes"
            )
    return first


def labelled(folder: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    """Return each image in the folders *names* of *folder*, and below them, with its label, in order of their names.

    InputError for a class without any.
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
    """Return the image in *file*, in red, green and blue."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except Exception as error:  # whatever a format's reader makes of a damaged file
        why = str(error).replace(f"{file!r}", "it")
        raise InputError(f"{file}: not readable as an image ({why}); mend it or remove it") from None


def _files(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (f"{place}{os.sep}{file}" for file in sorted(files) if file.lower().endswith(SUFFIXES))
