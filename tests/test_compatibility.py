"""The code also runs in Determined's image: Python 3.10, torch 2.3, numpy 1.24. The tests run on newer ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = ("samespace", "experiments", "benchmarks", "images", "tests")

# Names that came later, by the package they came in. `hasattr(…, "name")` or `except ImportError` makes a use safe.
LATER = {
    "builtins": "BaseExceptionGroup ExceptionGroup PythonFinalizationError",
    "asyncio": "Runner TaskGroup timeout",
    "contextlib": "chdir",
    "copy": "replace",
    "datetime": "UTC",
    "enum": "EnumCheck FlagBoundary ReprEnum StrEnum global_enum member nonmember property verify",
    "hashlib": "file_digest",
    "http": "HTTPMethod",
    "inspect": "getmembers_static markcoroutinefunction",
    "itertools": "batched",
    "logging": "getLevelNamesMapping getHandlerByName",
    "math": "cbrt exp2 fma sumprod",
    "operator": "call",
    "os": "process_cpu_count",
    "os.path": "isjunction splitroot",
    "random": "binomialvariate",
    "statistics": "kde kde_random",
    "sys": "exception monitoring",
    "tomllib": "",
    "typing": """assert_never assert_type clear_overloads dataclass_transform get_overloads LiteralString Never
        NoDefault NotRequired override ReadOnly Required reveal_type Self TypeAliasType TypeIs TypeVarTuple Unpack""",
    "warnings": "deprecated",
    "torch": "accelerator get_device_module",
    "torch.amp": "is_autocast_available",
    "torch.compiler": "set_stance",
    "torch.library": "custom_op triton_op wrap_triton",
    "torch.nn": "Buffer RMSNorm",
    "torch.nn.attention": "flex_attention",
    "torch.nn.functional": "rms_norm",
    "torch.optim": "Adafactor Muon",
    "torch.serialization": "add_safe_globals clear_safe_globals get_safe_globals safe_globals skip_data",
    "numpy": """acos acosh asin asinh astype atan atan2 atanh bitwise_count bitwise_invert bitwise_left_shift
        bitwise_right_shift bool concat cumulative_prod cumulative_sum dtypes exceptions isdtype long matrix_transpose
        matvec permute_dims pow strings trapezoid ulong unique_all unique_counts unique_inverse unique_values unstack
        vecdot vecmat""",
    "numpy.linalg": "cross diagonal matmul matrix_norm matrix_transpose outer svdvals tensordot trace vector_norm",
}
LATER_NAMES = {f"{package}.{name}".rstrip(".") for package, names in LATER.items() for name in names.split() or [""]}
LATER_METHODS = {"add_note", "get_flattened_data", "is_junction"}
LATER_KEYWORDS = {"buffersize", "onexc"}


def too_new(code: str) -> list[str]:
    """What in this code does not exist in the image, as `line: name`."""
    nodes = [*ast.walk(ast.parse(code, feature_version=(3, 10)))]
    later = {(line, _later_part(name)) for line, name in _dotted_names(nodes)} | set(_methods_and_keywords(nodes))
    guarded = {"", *_asked_for(nodes)}
    return [f"{line}: {name}" for line, name in sorted(later) if name.rpartition(".")[2] not in guarded]


def _later_part(name: str) -> str:
    """`torch.accelerator` of `torch.accelerator.current_stream`; nothing of what always existed."""
    parts = name.split(".")
    starts = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return next((start for start in starts if start in LATER_NAMES), "")


def _asked_for(nodes: list[ast.AST]) -> Iterator[str]:
    """Names the code asks for before it uses them."""
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id="hasattr"), args=[_, ast.Constant(value=str(name))]):
                yield name
            case ast.Try(handlers=[*handlers]) if any(_catches_import(handler) for handler in handlers):
                for imported in (found for line in node.body for found in ast.walk(line)):
                    if isinstance(imported, (ast.Import, ast.ImportFrom)):
                        yield from (alias.name for alias in imported.names)


def _catches_import(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type else ""
    return "ImportError" in caught or "ModuleNotFoundError" in caught


def _dotted_names(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """Every import and every attribute by its full name, whatever it was imported as: (line, "torch.nn.Buffer")."""
    known = {name: f"builtins.{name}" for name in LATER["builtins"].split()}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                known |= {alias.asname: alias.name} if alias.asname else {first: first}
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, f"{node.module}.{alias.name}"
    for node in nodes:
        first, _, rest = _chained(node).partition(".")
        if first in known:
            yield node.lineno, f"{known[first]}.{rest}".rstrip(".")


def _chained(node: ast.AST) -> str:
    """`torch.nn.Buffer` for these three names in a row; nothing for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join(reversed([*names, node.id])) if isinstance(node, ast.Name) else ""


def _methods_and_keywords(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr in LATER_METHODS:
            yield node.lineno, node.attr
        elif isinstance(node, ast.keyword) and node.arg in LATER_KEYWORDS:
            yield node.value.lineno, node.arg


def project_code() -> list[Path]:
    return sorted([*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))])


@pytest.mark.parametrize("path", project_code(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_code_needs_nothing_newer_than_the_image(path: Path) -> None:
    assert too_new(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "import tomllib",
        "from typing import Self",
        "import typing as t\nclass A:\n    def me(self) -> t.Self: ...",
        "from datetime import UTC, datetime",
        "import datetime\nnow = datetime.datetime.now(datetime.UTC)",
        "raise ExceptionGroup('both', [])",
        "import torch\ntorch.serialization.add_safe_globals([])",
        "import numpy as np\nnp.bitwise_count(3)",
        "import numpy as np\nmask = np.zeros(3, np.bool)",
        "from torch import nn\nnn.Buffer()",
        "import torch\ntorch.accelerator.current_accelerator()",
        "from torch.accelerator import current_accelerator",
        "from itertools import batched",
        "from enum import StrEnum",
        "from warnings import deprecated",
        "import shutil\nshutil.rmtree('a', onexc=print)",
        "error.add_note('more')",
    ],
)
def test_names_that_came_later_are_found(code: str) -> None:
    assert len(too_new(code)) >= 1


@pytest.mark.parametrize(
    "code",
    ["try:\n    pass\nexcept* ValueError:\n    pass", "type Pair = tuple[int, int]", "def first[T](of: list[T]): ..."],
)
def test_syntax_that_came_later_is_refused(code: str) -> None:
    with pytest.raises(SyntaxError):
        too_new(code)


@pytest.mark.parametrize(
    "code",
    [
        "from torch import serialization as s\nif hasattr(s, 'add_safe_globals'): s.add_safe_globals([])",
        "import torch\nif hasattr(torch, 'accelerator'): torch.accelerator.current_accelerator()",
        "try:\n    import tomllib\nexcept ImportError:\n    tomllib = None",
        "import numpy as np\nnp.bool_(1), np.uint8(1)",
        "override = 1\nself.batched = override",
        "from itertools import pairwise\nfrom typing import TypeAlias",
        "match 1:\n    case _: list(zip([], strict=True))",
    ],
)
def test_names_that_exist_or_are_asked_for_pass(code: str) -> None:
    assert too_new(code) == []
