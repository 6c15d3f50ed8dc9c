"""Files in a folder a class: what is found, and what is said of what cannot be read."""

import pytest

from lbsim.errors import InputError
from lbsim.harness.training import image_files

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def folder_of(top, *files, mode="RGB"):
    for name in files:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (9, 7), 120).save(top / name)
    return top


def test_images_are_found_below_their_class_in_the_order_of_their_names(tmp_path):
    folder_of(tmp_path, "val/eel/b.jpg", "val/eel/a.PNG", "val/eel/1/z.jpeg", "val/cat/c.bmp")
    (tmp_path / "val/eel/notes.txt").write_text("not an image")
    (tmp_path / "val/README.md").write_text("no class")
    assert image_files.classes(tmp_path / "val") == ["cat", "eel"]
    found = image_files.labelled(tmp_path / "val", ["cat", "eel"])
    names = [(file.removeprefix(f"{tmp_path}/val/"), label) for file, label in found]
    assert names == [("cat/c.bmp", 0), ("eel/a.PNG", 1), ("eel/b.jpg", 1), ("eel/1/z.jpeg", 1)]


@pytest.mark.parametrize(
    ("mode", "name"), [("L", "grey.jpg"), ("CMYK", "print.jpg"), ("RGBA", "x.png"), ("P", "p.png")]
)
def test_every_kind_of_image_comes_in_three_colours(mode, name, tmp_path):
    image = image_files.read(str(folder_of(tmp_path, name, mode=mode) / name))
    assert (image.mode, image.size) == ("RGB", (9, 7))


def test_a_class_without_images_is_named(tmp_path):
    folder_of(tmp_path, "train/cat/1.jpg")
    (tmp_path / "train/dog").mkdir()
    (tmp_path / "train/dog/Thumbs.db").write_bytes(b"\0" * 10)
    with pytest.raises(InputError, match=r"no images in 'train/dog'; put some there \(\.bmp, .*or remove the folder"):
        image_files.labelled(tmp_path / "train", ["cat", "dog"])


def test_a_class_that_is_not_in_both_parts_is_named(tmp_path):
    """As a label is the place of its class, torchvision's own folders would call dogs cats here, and say nothing."""
    folder_of(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/dog/1.jpg")
    with pytest.raises(InputError, match="class 'cat' is in 'train' and not in 'val'; both must have the same"):
        image_files.same_classes(tmp_path, ("train", "val"))
    folder_of(tmp_path, "val/cat/1.jpg", "val/eel/1.jpg")
    with pytest.raises(InputError, match="class 'eel' is in 'val' and not in 'train'"):
        image_files.same_classes(tmp_path, ("train", "val"))


def damaged(file, how):
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no image at all"}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "text"])
@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "webp", "tif"])
def test_a_damaged_image_is_named_in_one_line(kind, how, tmp_path):
    file = tmp_path / f"1.{kind}"
    Image.effect_noise((64, 48), 90).convert("RGB").save(file)
    damaged(file, how)
    with pytest.raises(InputError) as caught:
        image_files.read(str(file))
    assert str(caught.value).startswith(f"{file}: not readable as an image (")
    assert str(caught.value).count(str(file)) == 1


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg: not readable as an image .*No such file"):
        image_files.read(str(tmp_path / "gone.jpg"))
