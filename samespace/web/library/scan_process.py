"""The process in which a page's scan runs. It reports progress on standard output, one JSON object a line.

python -m samespace.web.library.scan_process [--model DIR | --backbone NAME [--weights FILE]] -- LIBRARY FOLDER…

It can be killed at any moment. It ends when standard input closes, because the server is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.photos import UnreadablePhoto
from samespace.base.text import readable
from samespace.library.library import Library
from samespace.search.look import look_from_options
from samespace.web.render import below, told
from samespace.words.remembered_encoder import load_remembered
from samespace.words.scan import scan_folders


def scan(options: Sequence[str], folder: Path, roots: Sequence[Path]) -> None:
    """Do what `samespace scan` does with these options, and report progress."""
    library = Library(folder, create=True)
    with library.hold(wait=False) as held:
        if not held:
            _tell("waiting", whom=readable(library.holder))
    with library.hold():
        if options:  # torch and a network, which may take many seconds
            _tell("loading", what=_named(options))
        look = look_from_options(options)
        try:
            encoder = load_remembered(library)
        except SameSpaceError:  # the search page says why; photos can be scanned without
            encoder = None
        _tell("looking")
        found = scan_folders(library, roots, look, tell=_tell_progress, encoder=encoder)
    _tell("done", **found._asdict() | {"unreadable": [_as_json(error, roots) for error in found.unreadable]})


def _named(options: Sequence[str]) -> str:
    """Return the name of the model or backbone that is about to be loaded."""
    kind, name = options[:2]
    return readable(f"the model {Path(name).name}" if kind == "--model" else name)


def _tell(state: str, **more: Any) -> None:
    print(json.dumps({"state": state, **more}), flush=True)


def _tell_progress(done: int, total: int) -> None:
    _tell("reading" if done < total else "finishing", done=done, total=total)


def _as_json(error: UnreadablePhoto, roots: Sequence[Path]) -> dict[str, str]:
    root = next((root for root in roots if error.path.is_relative_to(root)), None)
    name = below(error.path, root) if root else readable(os.fspath(error.path))
    return {"name": name, "reason": readable(error.reason)}


def _end_with_the_server() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(words: Sequence[str]) -> int:
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    if sys.platform != "win32":
        os.nice(5)  # pages come first
    progress.off()
    border = words.index("--")
    folder, *roots = map(Path, words[border + 1 :])
    try:
        scan(words[:border], folder, roots)
    except SameSpaceError as error:
        _tell("failed", sentence=told(error)[1])
        return 1
    return 0


if __name__ == "__main__":
    status = 1
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the server is gone
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # without waiting for the thread that waits for the server
