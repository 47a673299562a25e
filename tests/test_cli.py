"""Commands print results on stdout, and of a mistake one line on stderr."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

import samespace
from samespace import baseline
from samespace.cli import main
from samespace.pairs import TEST, find_photos
from samespace.photos import open_photo

COMMANDS = (
    "compare",
    "evaluate",
    "export",
    "scan",
    "dedupe",
    "apply",
    "undo",
    "empty-quarantine",
    "verdict",
    "verdicts",
)
RANDOM = ["--backbone", "mobilenet_v3_small", "--weights", "none"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command: exit status, stdout, stderr. What it caches stays in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run_command(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


@pytest.fixture
def photos(rooms: Path) -> tuple[Path, ...]:
    return find_photos(rooms, TEST).paths


def test_compare_prints_what_the_model_says(run: Run, model_folders: dict[str, Path], photos: tuple[Path, ...]) -> None:
    folder = model_folders["compare"]
    probability = samespace.load(folder).compare(*photos[:2])
    verdict = "same space" if probability >= 0.5 else "different spaces"
    expected = f"{verdict} (probability {probability:.4f}, from 0.5 on the same)\n"
    assert run("compare", *photos[:2], "--model", folder) == (0, expected, "")


def test_compare_in_json(run: Run, model_folders: dict[str, Path], photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", photos[0], photos[0], "--model", model_folders["compare"], "--json")
    answer = json.loads(out)
    assert (status, err) == (0, "")
    assert list(answer) == ["probability", "threshold", "same_space"]
    assert answer["threshold"] == 0.5
    assert answer["same_space"] is (answer["probability"] >= 0.5)


def test_compare_without_a_model_says_how_little_that_means(run: Run, photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", photos[0], photos[0], *RANDOM)
    assert (status, out) == (0, "same space (cosine 1.0000, from 0.9 on the same)\n")
    assert err == "no --model given: comparing ImageNet features, which knows nothing of rooms\n"
    _, out, _ = run("compare", photos[0], photos[1], *RANDOM, "--json")
    cosine = baseline.cosine(photos[:2], "mobilenet_v3_small", "none")
    assert json.loads(out) == {"cosine": pytest.approx(cosine), "threshold": 0.9, "same_space": cosine >= 0.9}


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
    assert rows["ap"] == f"{figures['ap']:.4f}" and rows["pairs"] == "91"
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


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
        (["export", "{here}", "-o", "{here}/exported"], "{here} is no checkpoint of SameSpace"),
        (["export", "{model}", "-o", "{photo}"], "cannot write the model to {photo}"),
        (["scan", "{here}/nowhere"], "{here}/nowhere is not a folder: give the folder that holds the photos"),
        (["dedupe", "{photo}"], "{photo} is not a folder"),
        (["dedupe", "{here}", "--threshold", "2"], "a threshold of 2 makes no sense"),
        (["dedupe", "{here}", "--kind", "same-space", "--model", "{here}"], "no model in {here}"),
        (["apply", "{here}/plan.json"], "{here}/plan.json is no plan that can be followed"),
        (["apply", "{photo}"], "{photo} is no plan that can be followed: it is not JSON"),
        (["undo", "--library", "{here}"], "no library at {here}: give the .samespace"),
        (["undo", "{here}/run"], "no run at {here}/run: name a folder"),
        (["verdict", "{photo}", "{photo}", "same"], "no library at or above"),
        (["verdicts", "--library", "{here}"], "no library at {here}"),
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
    names = {"photo": photos[0], "model": model_folders["compare"], "rooms": rooms, "here": tmp_path}
    status, out, err = run(*(word.format(**names) for word in words))
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {said.format(**names)}")
    assert err.count("\n") == 1 and err.endswith("\n")


def test_an_unknown_backbone_is_a_mistake_too(run: Run, photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", *photos[:2], "--backbone", "resnet51")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: unknown backbone 'resnet51': choose one of")


@pytest.fixture
def album(tmp_path: Path, photos: tuple[Path, ...]) -> Path:
    """A small photo folder: one photo and two copies of it, another photo, and a file that is none."""
    folder = tmp_path / "album"
    (folder / "trip").mkdir(parents=True)
    first, *_, last = map(open_photo, photos)
    first.save(folder / "first.png")
    first.save(folder / "trip" / "first.jpg", quality=30)
    first.resize((first.width // 2, first.height // 2)).save(folder / "small.png")
    last.save(folder / "last.png")
    (folder / "notes.jpg").write_text("no photo")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file outside the library, and its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".samespace" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_scan_says_what_it_read_and_what_comes_next(run: Run, album: Path) -> None:
    status, out, _ = run("scan", album)
    assert status == 0
    assert out.startswith("4 photos in ")
    assert "\nfiles: 5 new\n" in out
    assert f"\n1 file could not be read:\n  {album}/notes.jpg: not an image this program knows\n" in out
    assert f"next:\n  samespace dedupe {album}  # " in out
    assert "\nfiles: nothing has changed\n" in run("scan", album)[1]


def test_scan_keeps_what_same_space_compares(run: Run, album: Path, model_folders: dict[str, Path]) -> None:
    run("scan", album, "--model", model_folders["compare"], "--library", album.parent / "library")
    status, out, _ = run("scan", album, *RANDOM, "--extensions", "PNG", "--library", album.parent / "library")
    assert (status, out.splitlines()[0].split()[0]) == (0, "3")
    assert len(list((album.parent / "library" / "features").iterdir())) == 3
    assert not (album / ".samespace").exists()


def next_command(out: str, verb: str) -> list[str]:
    """The words of the command that the output says to type next."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"  samespace {verb} ")]
    return shlex.split(line.partition("  #")[0])[1:]


def test_dedupe_shows_what_it_found_and_changes_nothing(run: Run, album: Path) -> None:
    before = tree(album)
    status, out, err = run("dedupe", album)
    assert (status, err) == (11, "")
    figures = dict(line.split() for line in out.splitlines() if line.startswith("  ") and len(line.split()) == 2)
    assert figures == {"photos": "4", "groups": "1", "duplicates": "2", "unreadable": "1"}
    assert f"  keep           {album}/first.png  " in out
    assert ": same shot, fewer pixels\n" in out
    assert next_command(out, "apply") == ["apply", f"{album}/.samespace/plan.json"]
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


def test_undo_takes_the_newest_run_of_the_library_above(run: Run, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(album)
    _, out, _ = run(*next_command(run("dedupe", album)[1], "apply"), "--to", "symlink")
    assert "\nin the place of each is a symlink to the photo that is kept\n" in out
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{album}", "--plan", "{album}/last.png"], "{album}/last.png is there already, and is no earlier one"),
        (["{album}", "--report", "{album}/.samespace/library.sqlite"], "{album}/.samespace/library.sqlite is there"),
        (["{album}", "--report", "{album}"], "{album} is there already"),
        (["{album}", "--plan", "{album}/none/p.json"], "cannot write {album}/none/p.json: there is no folder"),
        (["{album}", "--plan", "{here}/x", "--report", "{here}/x"], "{here}/x cannot be both"),
        (["{album}", "--against", "{album}"], "{album} lies in a folder of --reference or --against"),
        (["{album}/trip", "--reference", "{album}"], "{album}/trip lies in a folder of --reference"),
        (["{album}", "--library", "{album}"], "{album} would lie in its own library"),
        (["{album}/trip", "--library", "{album}"], "{album}/trip would lie in its own library"),
        (["{album}/.samespace"], "{album}/.samespace lies in the library"),
        (["{album}", "--model", "{here}"], "--model says nothing of near duplicates"),
        (["{album}", "{here}/copy"], "{here}/copy/.samespace is a copy of the library {album}/.samespace"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(
    words: list[str], said: str, run: Run, album: Path, tmp_path: Path
) -> None:
    run("scan", album)
    shutil.copytree(album, tmp_path / "copy")
    before = tree(album)
    names = {"album": album, "here": tmp_path}
    status, out, err = run("dedupe", *(word.format(**names) for word in words))
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {said.format(**names)}") and err.count("\n") == 1
    assert tree(album) == before


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
    code = "import sys; from samespace import cli; sys.exit(cli.main(['scan', sys.argv[1]]))"
    command = [sys.executable, "-c", code, str(album)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    stop = code.replace(
        "sys.exit",
        "from samespace import library\ndef stop(*_): raise KeyboardInterrupt\nlibrary.Library.scan = stop\nsys.exit",
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
    assert str(broken) in run("undo", "--library", album / ".samespace")[2]
    assert len([path for path in broken.rglob("*") if path.is_file()]) == 3


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


def test_python_m_samespace_is_samespace(album: Path) -> None:
    ran = subprocess.run([sys.executable, "-m", "samespace", "dedupe", str(album)], capture_output=True, text=True)
    assert ran.returncode == 11, ran.stderr
    assert ran.stdout.startswith("near duplicates, from score ")


@pytest.mark.parametrize("words", [[], ["improve"], ["compare", "a.jpg"], ["export", "checkpoint"]])
def test_words_that_make_no_command_show_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert "usage: samespace" in capsys.readouterr().err


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 0
    return capsys.readouterr().out


def test_the_commands_tested_here_are_all(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(["--help"], capsys).partition("COMMAND\n")[2].splitlines()
    listed = [line.split() for line in lines if line.startswith("    ") and line[4] != " "]
    assert tuple(name for name, *_ in listed) == COMMANDS
    assert shown(["--version"], capsys) == f"{samespace.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    help_text = shown([command, "--help"], capsys)
    assert f"usage: samespace {command}" in help_text
    description = help_text.partition("\n\n")[2].partition("positional arguments:")[0]
    assert len(description.split()) >= 8
    readme = Path(__file__).parents[1] / "README.md"
    assert f"samespace {command}" in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "code",
    [
        "import samespace, samespace.cli",
        "from samespace.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from samespace.cli import main\ntry: main(['evaluate', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_help_does_not_wait_for_torch(code: str) -> None:
    check = f"{code}\nimport sys\nassert not {{'torch', 'torchvision', 'numpy', 'PIL'}} & set(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
