"""Folders of sync clients are known by name or by what lies in them, and others are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from samespace.library.synced import synced_by


@pytest.mark.parametrize(
    ("folder", "client"),
    [
        ("Dropbox", "Dropbox"),
        ("Dropbox (Personal)/Photos", "Dropbox"),
        ("OneDrive - Company/2023", "OneDrive"),
        ("CloudStorage/OneDrive-Personal", "OneDrive"),
        ("CloudStorage/GoogleDrive-me@example.org/My Drive", "Google Drive"),
        ("Google Drive", "Google Drive"),
        ("Nextcloud/a/b/c", "Nextcloud"),
        ("owncloud", "ownCloud"),
        ("Library/Mobile Documents/com~apple~CloudDocs/Photos", "iCloud Drive"),
        ("Photos/Dropboxes", ""),
        ("Photos/my OneDrive photos", ""),
    ],
)
def test_names(tmp_path: Path, folder: str, client: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    assert synced_by(tmp_path / folder) == client


@pytest.mark.parametrize(
    ("mark", "client"),
    [
        (".dropbox.cache/", "Dropbox"),
        (".nextcloudsync.log", "Nextcloud"),
        (".sync_1a2b3c.db", "Nextcloud"),
        ("._sync_1a2b3c.db", "ownCloud"),
        (".stfolder/", "Syncthing"),
        (".sync", ""),
    ],
)
def test_marks_in_a_folder_above(tmp_path: Path, mark: str, client: str) -> None:
    (tmp_path / "2023").mkdir()
    (tmp_path / mark).mkdir() if mark.endswith("/") else (tmp_path / mark).touch()
    assert synced_by(tmp_path / "2023") == client
