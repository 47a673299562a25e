"""The command line: read what was typed, call the library, print. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from io import TextIOWrapper
from typing import Any, NoReturn

import samespace
from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.text import readable, shortened
from samespace.cli.duplicates import (
    apply,
    apply_options,
    dedupe,
    dedupe_options,
    empty_quarantine,
    empty_quarantine_options,
    undo,
    undo_options,
)
from samespace.cli.models import (
    backbone,
    backbone_options,
    compare,
    compare_options,
    evaluate,
    evaluate_options,
    export,
    export_options,
)
from samespace.cli.rooms import rooms, rooms_options
from samespace.cli.scan import scan, scan_options
from samespace.cli.search import compress, compress_options, index, index_options, search, search_options
from samespace.cli.serve import serve, serve_options
from samespace.cli.verdicts import verdict, verdict_options, verdicts, verdicts_options
from samespace.cli.words import caption, caption_options, in_full, match, match_options

Command = Callable[[argparse.Namespace], "int | None"]  # its docstring is its help
COMMANDS: dict[str, dict[Command, Callable[[argparse.ArgumentParser], None]]] = {
    "Clean up": {
        dedupe: dedupe_options,
        apply: apply_options,
        undo: undo_options,
        empty_quarantine: empty_quarantine_options,
        serve: serve_options,
        verdict: verdict_options,
        verdicts: verdicts_options,
    },
    "Search": {
        search: search_options,
        match: match_options,
        caption: caption_options,
    },
    "Compare and train": {
        compare: compare_options,
        evaluate: evaluate_options,
        export: export_options,
        backbone: backbone_options,
        rooms: rooms_options,
    },
    "Library": {
        scan: scan_options,
        compress: compress_options,
        index: index_options,
    },
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status; a mistake is one line on stderr and status 1."""
    typed = list(sys.argv[1:] if words is None else words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know every character of a name
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell programmers
    return exit_status(lambda: _work(typed))


def _work(typed: list[str]) -> int | None:
    arguments = parse(in_full(typed))
    _refuse_pipes(typed)
    return arguments.work(arguments)


def _refuse_pipes(words: Sequence[str]) -> None:
    """Refuse pipes and devices, which may take for ever to open."""
    for word in words:
        name = word.partition("=")[2] if word.startswith("--") else word
        try:
            mode = os.stat(name).st_mode  # noqa: PTH116 - a word may be no path at all
        except (OSError, ValueError):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise SameSpaceError(f"{readable(name)} is a pipe or a device: give a file or a folder")


# What argparse says of a mistake, and how we say it; {0} is the command.
_SENTENCES = {
    r"the following arguments are required: (.*)": r"`{0}` needs \1: `{0} --help` shows how",
    r"one of the arguments (.*) is required": r"`{0}` needs one of \1: `{0} --help` shows how",
    r"argument (.*): expected .* arguments?": r"\1 needs a value: `{0} --help` shows which",
    r"argument (.*): invalid float value: (.*)": r"\1 must be a number, not \2",
    r"argument (.*): invalid int value: (.*)": r"\1 must be a whole number, not \2",
    r"argument (.*): not allowed with argument (.*)": r"\1 does not go with \2: leave out one",
    r"ambiguous option: (.*) could match (.*)": r"\1 may mean any of \2: type more of it",
    r"argument (.*?): (.*)": r"\1: \2",
}


class _Parser(argparse.ArgumentParser):
    """A parser that answers a mistake with one sentence."""

    def error(self, message: str) -> NoReturn:
        for theirs, ours in _SENTENCES.items():
            if said := re.fullmatch(theirs, message, re.DOTALL):
                message = said.expand(ours.format(self.prog))
                break
        self.exit(2, f"error: {shortened(message)}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # argparse has no public way to say it
        if action.choices is not None and value not in action.choices:
            name, known = "/".join(action.option_strings) or action.metavar, list(action.choices)
            near = difflib.get_close_matches(value, known, n=1)
            choices = f"choose from {', '.join(known)}" if known else f"`{self.prog} --help` lists them"
            hint = f"did you mean `{near[0]}`?" if near else choices
            self.error(f"{name} cannot be {readable(value)}: {hint}")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what these words ask for; a mistake in them ends the program with status 2."""
    parser = command_line(words)
    if mistake := _empty(words) or _misspelt(words, parser):
        parser.error(mistake)
    arguments, more = parser.parse_known_args(words)
    if more:
        command = f"samespace {arguments.command}"
        parser.error(f"`{command}` does not take {readable(more[0])}: `{command} --help` shows what it takes")
    arguments.typed = words
    return arguments


def command_line(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands, or only of those among the words, which takes much less time."""
    parser = _Parser(
        prog="samespace",
        usage="samespace [-h] [--version] COMMAND …",
        description=f"{samespace.__doc__}\n\n{_listed()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="`samespace COMMAND --help` describes a command.",
    )
    parser.add_argument("--version", action="version", version=samespace.__version__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog="samespace", help=argparse.SUPPRESS
    )
    for group in COMMANDS.values():
        for command, add_options in group.items():
            if words is None or _name(command) in words:
                inner = commands.add_parser(_name(command), description=command.__doc__)
                inner.set_defaults(work=command)
                add_options(inner)
    return parser


def _listed() -> str:
    """Return every command and what it does, under the headings of their groups."""
    lines = []
    for heading, group in COMMANDS.items():
        lines.append(f"{heading}:")
        for command in group:
            summary = (command.__doc__ or "").splitlines()[0]
            lines.append(f"  {_name(command):<18}{summary}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _name(command: Command) -> str:
    return command.__name__.replace("_", "-")


def inner_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands, or of a command's actions, by name."""
    for action in parser._actions:  # argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _empty(words: Sequence[str]) -> str | None:
    """Return one sentence on the first empty word, which an unset variable of the shell leaves; else None."""
    for before, word in zip(("samespace", *words), words, strict=False):
        name = word[:-1] if word.startswith("--") and word.endswith("=") else before
        if name != before or not word.strip():
            return f"the word after `{readable(name)}` is empty: is a variable of your shell not set?"
    return None


def _misspelt(words: Sequence[str], parser: argparse.ArgumentParser) -> str | None:
    """Return one sentence on the first command or option that does not exist, and on what may be meant; else None."""
    whole = parser
    for word in words:
        inner = inner_parsers(parser)
        names = [_name(command) for group in COMMANDS.values() for command in group] if parser is whole else [*inner]
        if word == "--":
            return None
        if _is_option(word):
            name, known = word.partition("=")[0], list(parser._option_string_actions)
            shortened = word[:2] in known or any(option.startswith(name) for option in known)
            if not shortened:
                return f"`{parser.prog}` has no option {readable(name)}: {_hint(name, known, parser.prog)}"
        elif word in inner:
            parser = inner[word]
        elif names:
            return f"`{parser.prog}` has no command {readable(word)}: {_hint(word, names, parser.prog)}"
    return None


def _is_option(word: str) -> bool:
    """Return whether argparse takes a word for an option: neither a negative number nor a sentence is one."""
    return len(word) > 1 and word[0] == "-" and " " not in word and not (word[1].isdigit() or word[1] == ".")


def _hint(word: str, known: Iterable[str], prog: str) -> str:
    """Return what may be meant by a word that is not known, or where to look."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"`{prog} --help` lists them"


if __name__ == "__main__":
    sys.exit(main())
