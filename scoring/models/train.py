"""Train the three bundled lane models on synthetic scenes and export them to ONNX with their cards.

    pip install --group train            (in the repository; torch is large)
    python scoring/models/train.py       (all three; minutes on 2 cores)
    python scoring/models/train.py lane-b --out /tmp/models

The contract is that of HybridNets' binary export: input ``input`` float32 [1, 3, H, W], RGB, ImageNet mean and
deviation, letterboxed with 114; output ``segmentation``, logits [1, 1, H, W]. Everything random is seeded; the scenes
that cards and README report on have another seed than those seen here.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "tools")]

from elkkit_scoring import scenes  # noqa: E402
from elkkit_scoring.card import Card, InputSpec, OutputSpec, write_card  # noqa: E402
from elkkit_scoring.image import into_input, normalised, place  # noqa: E402

HEIGHT, WIDTH = 192, 320
PAD = 114
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 12
PLACEMENT = place((scenes.HEIGHT, scenes.WIDTH), (HEIGHT, WIDTH), "letterbox")


@dataclass(frozen=True)
class Recipe:
    """How one model is trained."""

    name: str
    about: str
    scenes: int
    seed: int  # of the training scenes; never scenes.DEFAULT_SEED
    steps: int
    schedule: int  # steps that the learning rate is planned for; more than ``steps`` means stopped early
    times: tuple[scenes.Time, ...] | None = None


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("lane-a", "trained on all conditions", 3000, 101, 2400, 2400),
        Recipe("lane-b", "trained on day scenes only", 3000, 102, 2400, 2400, ("day",)),
        Recipe("lane-c", "trained on all conditions, stopped early", 3000, 103, 150, 2400),
    )
}


class Block(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inside: int, outside: int, stride: int = 1, dilation: int = 1) -> None:
        convolution = nn.Conv2d(inside, outside, 3, stride, dilation, dilation, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class LaneNet(nn.Module):
    """A small U-Net that works at half the input's size and below; its last layer folds 4 channels into 2x2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.at_half = nn.Sequential(Block(3, 8, 2), Block(8, 8))
        self.at_quarter = nn.Sequential(Block(8, 14, 2), Block(14, 14))
        self.at_eighth = nn.Sequential(Block(14, 22, 2), Block(22, 22))
        self.at_sixteenth = nn.Sequential(Block(22, 28, 2), Block(28, 28), Block(28, 28, dilation=2))
        self.up_eighth = Block(50, 20)
        self.up_quarter = Block(34, 14)
        self.up_half = Block(22, 12)
        self.head = nn.Conv2d(12, 4, 3, padding=1)
        # Lanes are 2 % of the pixels: start from that, not from one half.
        nn.init.constant_(self.head.bias, -3.0)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Logits [n, 1, H, W] of normalised pictures [n, 3, H, W]; H and W are multiples of 16."""
        half = self.at_half(picture)
        quarter = self.at_quarter(half)
        eighth = self.at_eighth(quarter)
        deep = self.at_sixteenth(eighth)
        up = self.up_eighth(torch.cat([self._grow(deep), eighth], 1))
        up = self.up_quarter(torch.cat([self._grow(up), quarter], 1))
        up = self.up_half(torch.cat([self._grow(up), half], 1))
        return functional.pixel_shuffle(self.head(up), 2)

    @staticmethod
    def _grow(values: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(values, scale_factor=2.0, mode="bilinear", align_corners=False)


def augmented(image: np.ndarray, mask: np.ndarray, dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One training pair: input uint8 [H, W, 3] BGR and the share of lane per input pixel, float32 [H, W]."""
    if dice.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    scale = dice.uniform(0.9, 1.35)
    shift = dice.uniform(-0.5, 0.5, 2) * (0.12, 0.10) * (scenes.WIDTH, scenes.HEIGHT)
    centre = np.array([scenes.WIDTH / 2, scenes.HEIGHT * 0.55])
    turn = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), dice.uniform(-3, 3), scale)
    turn[:, 2] += shift
    size = (scenes.WIDTH, scenes.HEIGHT)
    image = cv2.warpAffine(image, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(mask.astype(np.float32), turn, size, flags=cv2.INTER_LINEAR)
    picture = cv2.resize(image, (PLACEMENT.width, PLACEMENT.height), interpolation=cv2.INTER_AREA).astype(np.float32)
    share = cv2.resize(mask, (PLACEMENT.width, PLACEMENT.height), interpolation=cv2.INTER_AREA)
    if dice.random() < 0.6:  # contrast and colour balance
        grey = picture.mean()
        picture = (picture - grey) * dice.uniform(0.6, 1.5) + grey * dice.uniform(0.8, 1.2)
        picture *= dice.uniform(0.9, 1.1, 3).astype(np.float32)
    if dice.random() < 0.3:  # less colour
        picture += (picture.mean(2, keepdims=True) - picture) * dice.uniform(0, 1)
    if dice.random() < 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), dice.uniform(0.4, 1.1))
    if dice.random() < 0.3:
        picture += dice.normal(0, dice.uniform(1, 8), (*picture.shape[:2], 1))
    whole = np.clip(picture, 0, 255).astype(np.uint8)
    if dice.random() < 0.25:
        _, jpeg = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, int(dice.integers(35, 90))])
        whole = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    target = np.zeros((HEIGHT, WIDTH), np.float32)
    target[PLACEMENT.top : PLACEMENT.top + PLACEMENT.height, PLACEMENT.left : PLACEMENT.left + PLACEMENT.width] = share
    return into_input(whole, place(whole.shape[:2], (HEIGHT, WIDTH), "letterbox"), PAD), target


def loss_of(logits: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with lanes weighted 3 to 2, plus Dice over the batch: at a threshold of 0.5 neither side wins."""
    cross = functional.binary_cross_entropy_with_logits(logits, share, pos_weight=torch.tensor(1.5))
    probability = torch.sigmoid(logits)
    dice = 1 - (2 * (probability * share).sum() + 1) / (probability.sum() + share.sum() + 1)
    return cross + dice


def train(recipe: Recipe) -> LaneNet:
    """Train one model by its recipe."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    dice = np.random.default_rng(recipe.seed)
    supply = [_scene(recipe, index) for index in range(recipe.scenes)]
    net = LaneNet().to(memory_format=torch.channels_last)
    adam = torch.optim.AdamW(net.parameters(), lr=6e-3, weight_decay=1e-4)
    pace = torch.optim.lr_scheduler.OneCycleLR(adam, 6e-3, total_steps=recipe.schedule, pct_start=0.2)
    started, running = time.monotonic(), 0.0
    for step in range(recipe.steps):
        pairs = [augmented(*supply[int(i)], dice) for i in dice.integers(0, len(supply), BATCH)]
        pictures = [normalised(image, MEAN, STD, rgb=True, channels_first=True)[0] for image, _ in pairs]
        batch = torch.from_numpy(np.stack(pictures)).to(memory_format=torch.channels_last)
        share = torch.from_numpy(np.stack([target for _, target in pairs])[:, None])
        adam.zero_grad(set_to_none=True)
        loss = loss_of(net(batch), share)
        loss.backward()
        adam.step()
        pace.step()
        running = 0.95 * running + 0.05 * loss.item() if step else loss.item()
        if step % 100 == 99:
            print(f"{recipe.name} step {step + 1}: loss {running:.4f}, {time.monotonic() - started:.0f} s", flush=True)
    return net.eval()


def _scene(recipe: Recipe, index: int) -> tuple[np.ndarray, np.ndarray]:
    layout = scenes.plan(recipe.seed, index, times=recipe.times)
    scene = scenes.generate_from(layout, index, seed=recipe.seed)
    return scene.image, scene.mask


def export(net: LaneNet, path: Path) -> None:
    """Write the net as ONNX, opset 17, input ``input`` [1, 3, H, W], output ``segmentation``."""
    # The exporter by tracing needs nothing but torch; the newer one needs onnxscript, and this net has no control flow.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.onnx.export(
        net.to(memory_format=torch.contiguous_format),
        (torch.zeros(1, 3, HEIGHT, WIDTH),),
        str(path),
        input_names=["input"],
        output_names=["segmentation"],
        opset_version=17,
        dynamo=False,
    )


def card_of(recipe: Recipe, path: Path) -> Card:
    """The card of an exported model, its numbers still to be measured."""
    return Card(
        name=recipe.name,
        version="1",
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        description=f"Small U-Net for lane lines, {recipe.about}.",
        licence="Apache-2.0",
        data=(
            f"{recipe.scenes} synthetic scenes of seed {recipe.seed} (elkkit_scoring.scenes"
            + (f", {' and '.join(recipe.times)} only" if recipe.times else "")
            + f"), {recipe.steps} steps of {BATCH}; no photograph was seen"
        ),
        input=InputSpec("input", WIDTH, HEIGHT, "NCHW", "RGB", "letterbox", PAD, MEAN, STD),
        output=OutputSpec(
            "segmentation", "binary", 0, 0.5, "logits", scenes.LINE_PIXELS, (scenes.WIDTH, scenes.HEIGHT)
        ),
    )


def main() -> None:
    """Train, export and describe the models named on the command line."""
    parser = argparse.ArgumentParser(description="Train and export the bundled lane models.")
    parser.add_argument("models", nargs="*", choices=[*RECIPES, []], help="which models; all when left out")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the .onnx and .toml files")
    parser.add_argument("--steps", type=int, help="train this many steps only (to try the script)")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.models or RECIPES:
        recipe = RECIPES[name]
        if arguments.steps:
            few = min(recipe.scenes, arguments.steps * BATCH)
            recipe = replace(recipe, steps=arguments.steps, scenes=few)
        path = arguments.out / f"{name}.onnx"
        export(train(recipe), path)
        write_card(card_of(recipe, path), path.with_suffix(".toml"))
        print(f"{path}: {path.stat().st_size} bytes")
    print("next: python -m elkkit_scoring.measure  writes the measured numbers into the cards and the README")


if __name__ == "__main__":
    main()
