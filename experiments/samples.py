"""Draw a few pairs with their labels, as training sees them: what `python data.py samples` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from samespace.base.hashes import hamming
from samespace.base.photos import VARIANTS, read_pixels
from samespace.model.pairs import Pairs, Photos

TILE = (264, 198)  # width and height of a photo
GAP = 6  # between the two photos of a pair
MARGIN = 28  # around pairs
INK, GREY, GREEN, RED = "#1f2328", "#6e7781", "#1a7f37", "#b42318"


def draw_samples(photos: Photos, pairs: Pairs, seed: int = 0, count: int = 4) -> Image.Image:
    """Draw `count` duplicates of two different photos on the left, `count` other pairs on the right."""
    choose = np.random.default_rng(seed)
    two_photos = pairs.first != pairs.second
    columns = []
    for label in (1, 0):
        rows = np.flatnonzero((pairs.label == label) & two_photos)
        chosen = choose.choice(rows, min(count, len(rows)), replace=False)
        columns.append([draw_pair(photos, pairs, int(row)) for row in chosen])
    return _in_columns(columns)


def draw_pair(photos: Photos, pairs: Pairs, row: int) -> Image.Image:
    """Draw one pair with its label, and under each photo its name and its variant."""
    rows = (int(pairs.first[row]), int(pairs.second[row]))
    variants = (int(pairs.first_variant[row]), int(pairs.second_variant[row]))
    card = Image.new("RGB", (2 * TILE[0] + GAP, TILE[1] + 74), "white")
    draw = ImageDraw.Draw(card)
    if pairs.label[row]:
        draw.text((0, 0), "1  duplicate", GREEN, _font(17))
    else:
        draw.text((0, 0), "0  not a duplicate", RED, _font(17))
    distance = int(hamming(photos.hashes[[rows[0]]], photos.hashes[[rows[1]]])[0, 0])
    note, font = f"Hamming distance {distance}", _font(14)
    draw.text((card.width - draw.textlength(note, font), 2), note, GREY, font)
    for side, (photo, variant) in enumerate(zip(rows, variants, strict=True)):
        left = side * (TILE[0] + GAP)
        card.paste(as_trained(photos.paths[photo], variant), (left, 26))
        draw.text((left, TILE[1] + 31), photos.paths[photo].stem, INK, _font(14))
        draw.text((left, TILE[1] + 50), VARIANTS[variant], GREY, _font(13))
    return card


def as_trained(path: Path, variant: int) -> Image.Image:
    """Return the photo in this variant as the network sees it, except that the network sees squares."""
    import torch

    from samespace.model.feature_bank import vary

    pixels = torch.from_numpy(read_pixels(path, TILE[0]).copy()).permute(2, 0, 1)[None]
    varied = vary(pixels, variant)[0].permute(1, 2, 0).byte().numpy()
    return Image.fromarray(varied).resize(TILE, Image.Resampling.BICUBIC)


def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # before Pillow 10.1 there is one small bitmap font
        return ImageFont.load_default()


def _in_columns(columns: list[list[Image.Image]]) -> Image.Image:
    """Put pictures of one height side by side in columns."""
    cards = [card for column in columns for card in column]
    across, down = max(card.width for card in cards) + MARGIN, cards[0].height + MARGIN // 2
    rows = max(len(column) for column in columns)
    sheet = Image.new("RGB", (MARGIN + len(columns) * across, MARGIN + rows * down), "white")
    for x, column in enumerate(columns):
        for y, card in enumerate(column):
            sheet.paste(card, (MARGIN + x * across, MARGIN + y * down))
    return sheet
