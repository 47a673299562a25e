"""The notebooks run from top to bottom, find what they say they find, and are committed as they were written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE_PATH = re.compile(r"(?<![\w./*])(~?/|[A-Za-z]:\\)\w")


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


# Drawing and looking take long, and fewer photos seen by a smaller network prove the same.
CHANGES = {
    "read": ("training_photos=72, test_photos=24", "training_photos=16, test_photos=6"),
    "choices": ("mobilenet_v3_large", "mobilenet_v3_small"),
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, NotebookNode]]:
    """The cells of each notebook, by their ids, after all were run.

    One after the other in one process, which takes longest to start, and which forgets all names in between.
    """
    folder = tmp_path_factory.mktemp("notebooks")
    notebooks = {path.stem: read(path) for path in NOTEBOOKS}
    for cell in notebooks["captions"].cells:
        old, new = CHANGES.get(cell.id, ("", ""))
        assert old in cell.source
        cell.source = cell.source.replace(old, new) if old else cell.source
    named = {name: {cell.id: cell for cell in one.cells} for name, one in notebooks.items()}
    cells = [cell for one in notebooks.values() for cell in (*one.cells, nbformat.v4.new_code_cell("%reset -f"))]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # both notebooks have some of the same
    here, temporary = folder / "here", folder / "temporary"
    here.mkdir()
    temporary.mkdir()
    # Nobody looks at the figures: they may be coarse, and need not be drawn twice to be cut to size.
    (folder / "matplotlibrc").write_text("figure.dpi: 20")
    profile = folder / "ipython/profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_kernel_config.py").write_text("c.InlineBackend.print_figure_kwargs = {'bbox_inches': None}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
        environment["MATPLOTLIBRC"] = str(folder / "matplotlibrc")
        client = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=600, kernel_name="python3")
        client.execute(env=environment, cwd=str(here))
    assert not list(here.iterdir()), "a notebook leaves nothing where it was opened"
    assert not list(temporary.glob("samespace-*"))
    return named


def printed(cell: NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def pictures(cell: NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_without_outputs_or_traces_of_a_machine(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.id.replace("-", "").isalpha(), "an id that a person chose stays the same"
        assert not cell.metadata
        assert not ABSOLUTE_PATH.search(cell.source)
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_duplicates_are_found_removed_and_brought_back(executed: dict[str, dict[str, NotebookNode]]) -> None:
    cells = executed["duplicates"]

    assert "25 photos, 26 new files\nleft out: broken.jpg: damaged" in printed(cells["scan"])
    assert "25 photos, 0 new files, 0 changed, 0 gone" in printed(cells["again"])
    assert "5 groups, 15 duplicates" in printed(cells["verdicts"])  # all copies, and nothing that is none
    assert printed(cells["plan"]).count("remove") == 15
    assert "15 photos moved, 11 of 26 files left in the album" in printed(cells["apply"])
    assert "15 photos back in place; all 26 files are as they were" in printed(cells["undo"])
    assert [pictures(cells[name]) for name in ("show", "kept", "neighbours", "scores", "doubtful")] == [1] * 5
    assert (pictures(cells["groups"]), pictures(cells["verdicts"])) == (5, 2)


def test_captions_are_looked_at_and_searched(executed: dict[str, dict[str, NotebookNode]]) -> None:
    cells = executed["captions"]

    assert "Karpathy's dataset.json: 22 photos, 110 captions" in printed(cells["read"])
    assert "empty captions: 2 (a.jpg, b.jpg)" in printed(cells["untidy"])
    assert "['dalmatian', 'beside', 'kitchn'] ['kitchen']" in printed(cells["unknown"])
    assert "chance           mean rank   3.5 of 6" in printed(cells["nearest"])
    trained = next(line for line in printed(cells["train"]).splitlines() if line.startswith("matcher on train"))
    assert float(trained.split()[5]) < 5, "it learnt something: chance is 7"
    assert "unknown words: none\nits own photo comes at place" in printed(cells["search"])
    assert "no word of 'dalmatians, kitchn'" in printed(cells["strangers"])
    assert [pictures(cells[name]) for name in ("photo", "lengths", "search")] == [1] * 3
