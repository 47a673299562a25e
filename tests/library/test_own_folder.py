"""Links in a library's own folder, which may have come with an album, lead nothing elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from samespace.base.errors import SameSpaceError
from samespace.base.files import reached, write_whole
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from tests.library.conftest import Mean, opened

PLACES = (
    *(
        "library.sqlite",
        "captions.sqlite",
        "lock",
        "holder.json",
        "plan.json",
        ".plan.json.partial",
        "plans",
        "plans/near.json",
    ),
    *("features", "features/mean-1", "features/mean-1/mean", "features/mean-1/.index.partial"),
    *("quarantine", "quarantine/run", "quarantine/run/manifest.jsonl", "quarantine/run/0", "thumbnails/ab"),
)


@pytest.mark.parametrize("place", PLACES)
def test_a_library_with_a_link_in_its_folder_is_refused_and_nothing_elsewhere_changes(
    root: Path, tmp_path: Path, place: str
) -> None:
    scan(opened(root), [root], [Mean()])
    path, elsewhere = root / FOLDER / place, tmp_path / "elsewhere"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        path.rename(elsewhere)
    elif path.exists():
        shutil.move(path, elsewhere)
    else:
        elsewhere.write_bytes(b"mine")
    path.symlink_to(elsewhere)
    before = elsewhere.stat().st_mtime_ns
    with pytest.raises(SameSpaceError, match=f"{place} is a link.* remove it"):
        scan(opened(root), [root], [Mean("mean-2")])
    assert elsewhere.stat().st_mtime_ns == before


def test_a_library_is_not_made_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SameSpaceError, match=f"{FOLDER} is a link to .*elsewhere.*: give --library"):
        opened(root)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    Library(tmp_path / "elsewhere", create=True)
    assert opened(root).folder == tmp_path / "elsewhere"


def test_features_are_not_written_through_a_link_that_came_later(root: Path, tmp_path: Path) -> None:
    library, elsewhere = opened(root), tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    (library.folder / "features" / "mean-1").mkdir(parents=True)
    (library.folder / "features" / "mean-1" / "mean").symlink_to(elsewhere)
    with pytest.raises(SameSpaceError, match="features/mean-1 cannot be written"):
        scan(library, [root], [Mean()])
    assert elsewhere.read_bytes() == b"mine"


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_not_written_through_a_link_in_the_place_of_its_beginnings(tmp_path: Path, durable: bool) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / ".file.partial").symlink_to(tmp_path / "mine")
    write_whole(tmp_path / "file", b"content", durable)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_holder_does_not_sign_through_a_link_that_came_later(root: Path, tmp_path: Path) -> None:
    library = opened(root)
    (tmp_path / "mine").write_bytes(b"mine")
    (library.folder / "holder.json").symlink_to(tmp_path / "mine")
    with library.hold():
        assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("descriptors", [True, False])
def test_no_file_is_reached_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptors: bool) -> None:
    if not descriptors:
        monkeypatch.setattr(os, "supports_dir_fd", set())
    (tmp_path / "top" / "a").mkdir(parents=True)
    (tmp_path / "top" / "link").symlink_to("a")
    (tmp_path / "top" / "a" / "file").write_bytes(b"content")
    with reached(tmp_path / "top", Path("a/file")) as (name, folder):
        assert os.stat(name, dir_fd=folder).st_size == 7
    with (
        pytest.raises(OSError, match=r"(Not a directory|Too many levels)"),
        reached(tmp_path / "top", Path("link/file")),
    ):
        pass


# Modes


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_library_is_its_owners_alone(root: Path) -> None:
    assert mode(opened(root).folder) == 0o700


def test_a_library_of_before_becomes_private_with_the_next_scan_and_once(root: Path) -> None:
    library = opened(root)
    library.folder.chmod(0o755)
    (library.folder / "quarantine").mkdir()
    scan(library, [root])
    assert mode(library.folder) == 0o700
    library.folder.chmod(0o750)  # a person shares it
    scan(library, [root])
    assert mode(library.folder) == 0o750


def test_in_a_folder_of_another_name_only_what_is_the_librarys_becomes_private(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    for path in (folder, folder / "theirs", folder / "thumbnails"):
        path.mkdir()
        path.chmod(0o755)
    library = Library(folder, create=True)
    scan(library, [root], [Mean()])
    modes = {path.name: mode(path) for path in (folder, *folder.iterdir()) if path.name != "lock"}
    assert modes == {"shared": 0o755, "theirs": 0o755, "thumbnails": 0o700, "features": 0o700, "library.sqlite": 0o600}
