"""The command line: parse, call the library, print. Results go to stdout, all else to stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper

import samespace
from samespace.base.errors import exit_status
from samespace.cli.duplicates import (
    apply,
    apply_words,
    dedupe,
    dedupe_words,
    empty_quarantine,
    empty_quarantine_words,
    undo,
    undo_words,
    verdict,
    verdict_words,
    verdicts,
    verdicts_words,
)
from samespace.cli.models import compare, compare_words, evaluate, evaluate_words, export, export_words
from samespace.cli.rooms import rooms, rooms_words
from samespace.cli.scan import scan, scan_words
from samespace.cli.search import compress, compress_words, index, index_words, search, search_words
from samespace.cli.serve import serve, serve_words
from samespace.cli.words import caption, caption_words, in_full, match, match_words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="samespace", description=samespace.__doc__)
    parser.add_argument("--version", action="version", version=samespace.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for work, describe in COMMANDS.items():
        describe(_command(commands, work))
    return parser


def _command(commands: argparse._SubParsersAction[argparse.ArgumentParser], work: Command) -> argparse.ArgumentParser:
    """A command is a function of this file: its name, and its docstring as help."""
    name, text = work.__name__.replace("_", "-"), work.__doc__ or ""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text.splitlines()[0], description=text)
    parser.set_defaults(work=work)
    return parser


Command = Callable[[argparse.Namespace], "int | None"]
COMMANDS: dict[Command, Callable[[argparse.ArgumentParser], None]] = {
    compare: compare_words,
    evaluate: evaluate_words,
    export: export_words,
    scan: scan_words,
    search: search_words,
    serve: serve_words,
    dedupe: dedupe_words,
    apply: apply_words,
    undo: undo_words,
    empty_quarantine: empty_quarantine_words,
    verdict: verdict_words,
    verdicts: verdicts_words,
    compress: compress_words,
    index: index_words,
    match: match_words,
    caption: caption_words,
    rooms: rooms_words,
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; a mistake is one line on stderr and exit status 1."""
    words = in_full(list(sys.argv[1:] if words is None else words))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know every character of a name
    arguments = _parser().parse_args(words)
    arguments.words = words
    return exit_status(lambda: arguments.work(arguments))


if __name__ == "__main__":
    sys.exit(main())
