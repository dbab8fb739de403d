"""Where frames come from: `scenes:N` (synthetic, seeded), a folder of images and masks, or a lane data set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from elkkit.errors import InputError, UsageError, from_os_error
from elkkit_scoring import scenes
from elkkit_scoring.image import Image, Mask, decode_image, decode_mask

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MASK_FOLDER = "masks"
MASK_ENDING = "-lanes"
MAX_SCENES = 1_000_000
DataFormat = Literal["folder", "bdd", "tusimple", "culane"]
_SCENES = re.compile(r"scenes:(\d{1,9})(?::(\d{1,9}))?")
_HINT = "give a folder of images, scenes:N, or scenes:N:SEED (for example scenes:120)"


@dataclass(frozen=True, slots=True)
class Frame:
    """One image to score."""

    frame_id: str
    index: int
    image: Image  # uint8 [H, W, 3], BGR
    truth: Mask | None  # bool [H, W]; None where there is no ground truth
    clip: str | None = None
    conditions: tuple[str, ...] = ()

    @property
    def lane_free(self) -> bool | None:
        """The ground truth has no lane pixel; None without ground truth."""
        return None if self.truth is None else not self.truth.any()


class Dataset(Protocol):
    """Frames in a fixed order, each with an id that is the same for every model and every run."""

    @property
    def name(self) -> str:
        """What was asked for, for people."""
        ...

    def __len__(self) -> int: ...

    def frame_id(self, index: int) -> str:
        """The id of a frame, without reading it."""
        ...

    def has_truth(self, index: int) -> bool:
        """Whether a frame comes with ground truth, without reading it."""
        ...

    def load(self, index: int) -> Frame:
        """Read a frame. Raises `InputError` where it cannot be used."""
        ...


def open_data(spec: str, kind: str = "folder") -> Dataset:
    """Frames named on a command line: `scenes:N`, `scenes:N:SEED`, or files in one of `DataFormat`.

    Raises `ElkkitError` where there are none.
    """
    if kind != "folder":
        return _open_labelled(Path(spec), kind)
    if spec.startswith("scenes:") and not Path(spec).exists():
        match = _SCENES.fullmatch(spec)
        number = int(match[1]) if match else 0
        if not match or not 1 <= number <= MAX_SCENES:
            raise UsageError(f"cannot use the data {spec}", why=f"N is a number from 1 to {MAX_SCENES}", hint=_HINT)
        return SceneData(number, int(match[2]) if match[2] else scenes.DEFAULT_SEED)
    return FolderData(Path(spec))


def _open_labelled(path: Path, kind: str) -> Dataset:
    # The readers make frames, so they import this module.
    if kind == "bdd":
        from elkkit_scoring.bdd import BddData

        return BddData(path)
    if kind == "tusimple":
        from elkkit_scoring.tusimple import TuSimpleData

        return TuSimpleData(path)
    if kind == "culane":
        from elkkit_scoring.culane import CuLaneData

        return CuLaneData(path)
    why = f"{kind!r} is none of {', '.join(get_args(DataFormat))}"
    raise UsageError(f"cannot use the data {path}", why=why, hint="leave the format out for a folder of images")


class SceneData:
    """The first ``number`` synthetic scenes of a seed."""

    def __init__(self, number: int, seed: int = scenes.DEFAULT_SEED) -> None:
        self._number = number
        self._seed = seed

    @property
    def name(self) -> str:
        """The spec that names these scenes."""
        return f"scenes:{self._number}:{self._seed}"

    def __len__(self) -> int:
        return self._number

    def frame_id(self, index: int) -> str:
        """The scene's id."""
        return scenes.frame_id(self._seed, index)

    def has_truth(self, index: int) -> bool:  # noqa: ARG002  (every scene has)
        """Always true."""
        return True

    def load(self, index: int) -> Frame:
        """Render a scene."""
        scene = scenes.generate(index, seed=self._seed)
        return Frame(scene.frame_id, index, scene.image, scene.mask, scene.clip, scene.conditions)


@dataclass(frozen=True, slots=True)
class _Entry:
    frame_id: str
    image: Path
    mask: Path | None


class FolderData:
    """Images of a folder in the order of their names; the frame's id is the file's name without its ending.

    The mask of `a.jpg` is `a-lanes.png`, `masks/a.png` or, beside a JPEG, `a.png`. A frame without mask has no ground
    truth: it gets the metrics that need none. Folders below (other than `masks`) are not read.
    """

    def __init__(self, folder: Path) -> None:
        """List the folder. Raises `ElkkitError` where it is missing, holds no image, or pairs are not clear."""
        self._folder = folder
        try:
            files = sorted(entry for entry in folder.iterdir() if entry.is_file())
            masks = _masks(folder / MASK_FOLDER)
        except OSError as error:
            if isinstance(error, NotADirectoryError):
                raise UsageError(
                    f"cannot use the data {folder}", why="it is a file, not a folder", hint=_HINT
                ) from None
            raise from_os_error("read the data", folder, error, hint=_HINT) from error
        self._entries = _pairs(folder, files, masks)
        if not self._entries:
            kinds = ", ".join(IMAGE_SUFFIXES)
            raise UsageError(f"no image in {folder}", why=f"there is no file that ends in {kinds}", hint=_HINT)

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._folder)

    def __len__(self) -> int:
        return len(self._entries)

    def frame_id(self, index: int) -> str:
        """The image's file name without its ending."""
        return self._entries[index].frame_id

    def has_truth(self, index: int) -> bool:
        """Whether the image has a mask file."""
        return self._entries[index].mask is not None

    def load(self, index: int) -> Frame:
        """Read an image and its mask."""
        entry = self._entries[index]
        image = decode_image(_bytes("image", entry.image), str(entry.image))
        truth = None
        if entry.mask is not None:
            truth = decode_mask(_bytes("mask", entry.mask), str(entry.mask))
            if truth.shape != image.shape[:2]:
                raise InputError(
                    f"cannot use the mask {entry.mask}",
                    why=f"it is {truth.shape[1]}x{truth.shape[0]}, the image {image.shape[1]}x{image.shape[0]}",
                    hint=f"give {entry.image.name} a mask of its own size",
                )
        return Frame(entry.frame_id, index, image, truth)


def _masks(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() == ".png"}


def _pairs(folder: Path, files: Iterable[Path], masks: dict[str, Path]) -> list[_Entry]:
    """Which files are images, and which mask belongs to which."""
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    jpegs = {file.stem for file in images if file.suffix.lower() != ".png"}
    beside = {file.stem: file for file in images if file.suffix.lower() == ".png" and file.stem in jpegs}
    stems = {file.stem for file in images}
    ending = {
        file.stem.removesuffix(MASK_ENDING): file
        for file in images
        if file.suffix.lower() == ".png"
        and file.stem.endswith(MASK_ENDING)
        and file.stem.removesuffix(MASK_ENDING) in stems
    }
    taken = {*beside.values(), *ending.values()}
    entries: dict[str, _Entry] = {}
    for file in images:
        if file in taken:
            continue
        stem = file.stem
        if stem in entries:
            why = f"{entries[stem].image.name} and {file.name} would have the same frame.id"
            raise UsageError(f"cannot use the data {folder}", why=why, hint="rename one of them")
        candidates = [source[stem] for source in (ending, masks, beside) if stem in source]
        if len(candidates) > 1:
            why = f"{file.name} has more than one mask: {' and '.join(str(c) for c in candidates)}"
            raise UsageError(f"cannot use the data {folder}", why=why, hint="keep one of them")
        try:
            stem.encode()
        except UnicodeEncodeError:
            why = f"the name {stem!r} is not UTF-8, so it cannot be a frame.id"
            raise UsageError(f"cannot use the data {folder}", why=why, hint="rename it") from None
        entries[stem] = _Entry(stem, file, candidates[0] if candidates else None)
    return list(entries.values())


def _bytes(kind: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise from_os_error(f"read the {kind}", path, error) from error
