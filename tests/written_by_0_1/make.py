"""Make everything.tar.xz and expected.json: files of samespace 0.1 (commit f095501), and the answers it gives.

It shows what made them and need not run under later versions. It is run from the repository:
PYTHONPATH=. python3 tests/written_by_0_1/make.py

album/                 seven photos and their library: scanned for a model and a matcher, captioned, with a verdict
plan.json              what `dedupe` planned for the album
tidied/                the same photos, some of them in the quarantine of its library
model/                 exported from the checkpoint
checkpoint/            as a trial wrote it, without the copy of the code that Determined adds
matcher.safetensors    `borrower` repeats a training photo's caption, `captioner` writes its own
captioner.safetensors
borrower.safetensors
dataset.json           the sentences that the matcher ranks
query.jpg              a photo of a room in the album, from elsewhere
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import torch
import torchvision
from PIL import Image, ImageEnhance
from samespace.words.library_captions import LibraryCaptions

import samespace
from samespace import looks
from samespace.library import Library
from samespace.rooms import SPACE_TYPES, draw, make_room, viewpoints
from samespace.words import borrowing, captioning, data, training

HERE = Path(__file__).parent
WHERE = Path("/tmp/written_by_0_1")  # plans and manifests name it: tests put another in its place
BACKBONE = "mobilenet_v3_small"
SEARCHED = "a kitchen with green cupboards"
CAPTION = "our kitchen, before we moved"
MADE = ("album", "tidied", "plan.json", "model", "checkpoint", "dataset.json", "query.jpg")


def main() -> None:
    shutil.rmtree(WHERE, ignore_errors=True)
    WHERE.mkdir()
    os.environ["XDG_CACHE_HOME"] = str(WHERE / "cache")
    command("rooms", WHERE / "rooms", "--photos", "30", "--test-photos", "3", "--captions")
    shutil.copy(WHERE / "rooms" / "dataset.json", WHERE)
    draw_album()
    shutil.copytree(WHERE / "album", WHERE / "tidied")
    train_model()
    train_words()
    fill_library()
    command("dedupe", WHERE / "tidied", "--plan", WHERE / "tidied.json")
    command("apply", WHERE / "tidied.json")
    (HERE / "expected.json").write_text(json.dumps(said(), indent=1) + "\n")
    with tarfile.open(HERE / "everything.tar.xz", "w:xz", preset=9 | lzma.PRESET_EXTREME) as archive:
        for path in [WHERE / name for name in MADE] + sorted(WHERE.glob("*.safetensors")):
            archive.add(path, path.name)


def command(*words: str | Path) -> str:
    done = subprocess.run([sys.executable, "-m", "samespace", *words], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode in (0, 11), words
    return done.stdout


def draw_album() -> None:
    """Draw three rooms, each with a smaller copy, one also brighter."""
    (WHERE / "album").mkdir()
    for number in range(3):
        room = make_room(SPACE_TYPES[number % len(SPACE_TYPES)], number)
        one, other = (draw(room, camera, (96, 72)) for camera in viewpoints(room, 2))
        save(one, f"album/{number}.jpg", 90)
        save(one.resize((64, 48)), f"album/{number} small.jpg", 80)
        if number == 1:
            save(ImageEnhance.Brightness(one).enhance(1.2), f"album/{number} bright.jpg", 80)
        if number == 2:
            save(other, "query.jpg", 90)


def save(photo: Image.Image, name: str, quality: int) -> None:
    photo.save(WHERE / name, quality=quality)
    os.utime(WHERE / name, (1_700_000_000, 1_700_000_000))  # a library compares dates, and tar keeps whole seconds


def train_model() -> None:
    """Train on a backbone of mostly zeros, which take little room in an archive."""
    state = torchvision.models.get_model(BACKBONE, weights=None).state_dict()
    for value in state.values():
        if value.ndim > 1:
            rows = torch.randn(value.shape[0], value[0].numel(), generator=torch.Generator().manual_seed(0))
            few = torch.zeros_like(rows).scatter(1, rows.topk(1).indices, 1).scatter(1, rows.neg().topk(1).indices, -1)
            value.copy_(few.view_as(value))
    torch.save(state, WHERE / "weights.pth")
    changes = {
        "hyperparameters.backbone": BACKBONE,
        "hyperparameters.weights": WHERE / "weights.pth",
        "hyperparameters.global_batch_size": 8,
        "data.held_out": 0.7,
    }
    config = [word for name, value in changes.items() for word in ("--config", f"{name}={value}")]
    train = [sys.executable, "model_def.py", "--data", WHERE / "rooms", "--epochs", "2", "--output", WHERE / "best"]
    subprocess.run([*train, *config], check=True)
    (checkpoint,) = (WHERE / "checkpoints" / "best" / "determined").iterdir()
    shutil.copytree(checkpoint, WHERE / "checkpoint", ignore=shutil.ignore_patterns("code"))
    command("export", WHERE / "checkpoint", "-o", WHERE / "model")


def train_words() -> None:
    featured = data.read(WHERE / "rooms", None, None, lambda: looks.look(WHERE / "model"), WHERE / "cache")
    long = {"learning_rate": 0.01, "epochs": 200, "patience": 100}
    matcher = training.train(featured, training.QUICK["cosine"]._replace(dim=4, word_dim=4, **long))
    matcher.save(WHERE / "matcher.safetensors")
    captioner = captioning.train(featured, captioning.QUICK._replace(embed_size=4, hidden_size=16, **long))
    captioner.save(WHERE / "captioner.safetensors")
    borrowing.borrow(featured).save(WHERE / "borrower.safetensors")


def fill_library() -> None:
    album, model = WHERE / "album", WHERE / "model"
    command("scan", album, "--model", model, "--matcher", WHERE / "matcher.safetensors")
    command("verdict", album / "2.jpg", album / "2 small.jpg", "different")
    command("caption", album, "--captioner", WHERE / "captioner.safetensors", "--model", model)
    library = Library(album / ".samespace")
    content = next(photo.content for photo in library.photos() if photo.path.name == "2.jpg")
    with LibraryCaptions(library) as captions:
        captions.edit(content, CAPTION)  # which only a page does
    library.close()
    command("dedupe", album, "--plan", WHERE / "plan.json")


def said() -> dict[str, object]:
    """Return the answers of this version, which later ones must give again."""
    model, query, library = WHERE / "model", WHERE / "query.jpg", WHERE / "album" / ".samespace"
    photos = sorted((WHERE / "album").glob("*.jpg"))
    search = ("--library", library, "--model", model, "--json")
    words = (*search, "--matcher", WHERE / "matcher.safetensors")
    rank = ("--captions", WHERE / "dataset.json", "--matcher", WHERE / "matcher.safetensors", "--model", model)
    by_photo = json.loads(command("search", query, *search))["answers"][0]["hits"]
    by_words = json.loads(command("search", SEARCHED, *words, "--all"))["hits"]
    loaded = samespace.load(model)
    return {
        "where": str(WHERE),
        "scores": {photo.name: loaded.compare(query, photo) for photo in photos},
        "search by photo": {Path(hit["path"]).name: hit["score"] for hit in by_photo},
        "searched": SEARCHED,
        "search by words": {Path(hit["path"]).name: hit["score"] for hit in by_words},
        "captions": {Path(hit["path"]).name: hit["caption"] for hit in by_words},
        "ranked": json.loads(command("match", query, *rank, "--json")),
        "captioner": caption("captioner"),
        "borrower": caption("borrower"),
        "removed": sorted(
            Path(photo["path"]).name
            for group in json.loads((WHERE / "plan.json").read_text())["groups"]
            for photo in group["remove"]
        ),
    }


def caption(writer: str) -> str:
    model = ("--model", WHERE / "model")
    line = command("caption", WHERE / "query.jpg", "--captioner", WHERE / f"{writer}.safetensors", *model)
    return line.partition(": ")[2].strip()


if __name__ == "__main__":
    main()
