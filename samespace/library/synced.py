"""Tell if a folder seems to be kept in step with a cloud or another machine, by its name and by what lies in it."""

from __future__ import annotations

from pathlib import Path

# What the folders of sync clients are called, and what these names go on with: "OneDrive - Company".
_NAMES = {
    "dropbox": "Dropbox",
    "onedrive": "OneDrive",
    "nextcloud": "Nextcloud",
    "owncloud": "ownCloud",
    "google drive": "Google Drive",
    "googledrive": "Google Drive",
    "icloud drive": "iCloud Drive",
    "iclouddrive": "iCloud Drive",
    "com~apple~clouddocs": "iCloud Drive",
}
_FURTHER = (" (", " - ", "-")
_MARKS = {
    ".dropbox.cache": "Dropbox",
    ".nextcloudsync.log": "Nextcloud",
    ".owncloudsync.log": "ownCloud",
    ".sync_*.db": "Nextcloud",
    "._sync_*.db": "ownCloud",
    ".tmp.drivedownload": "Google Drive",
    ".stfolder": "Syncthing",
}


def synced_by(folder: Path) -> str:
    """Return what seems to sync a folder, or one that it lies in: "Dropbox"; "" if nothing does."""
    for each in (folder, *folder.parents):
        name = each.name.lower()
        for start, client in _NAMES.items():
            if name == start or name.startswith(tuple(start + more for more in _FURTHER)):
                return client
        for mark, client in _MARKS.items():
            if any(each.glob(mark)):
                return client
    return ""
