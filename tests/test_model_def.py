"""Training: here, on a stand-in for the cluster's master, and with two workers."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import determined
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

import experiments.trial
import model_def
import samespace
from experiments.config import read_config
from experiments.local_run import SEED
from experiments.trial import GlobalBatches, Rows
from model_def import CompareTrial, ConcatTrial, SameSpaceTrial, check
from samespace.base.errors import SameSpaceError
from samespace.model import network
from samespace.model.backbone import make_backbone
from samespace.model.checkpoint import export
from samespace.model.pairs import splits
from samespace.model.saved import Model
from samespace.search.evaluate import evaluate
from tests.conftest import ROOT, Killed, call_at, stop_at
from tests.stub_master import StubMaster

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern")  # Determined, reading .detignore

RANKING = ("average_precision", "recall_at_99_precision", "roc_auc")
METRICS = {
    "compare": {"validation_loss", "balanced_accuracy", "calibration_error", *RANKING},
    "concat": {"validation_loss", "balanced_accuracy", *RANKING, *(f"balanced_{name}" for name in RANKING)},
}
EPOCHS = 3
HELD_OUT = 0.4
TINY = {"backbone": "mobilenet_v3_small", "weights": "none", "global_batch_size": 20}
BATCH = 10  # pairs: compare has fewer than concat
WHOLE = {**yaml.safe_load((ROOT / "const.yaml").read_text())["hyperparameters"], **TINY}


# Photos, and what trains on them


FEW = {
    "Training Data": {"oslo_1": 2, "oslo_2": 1, "oslo_3": 1, "oslo_4": 2},  # the last two to train on, in 84 pairs
    "Test Data": {"oslo_6": 2, "oslo_7": 1},
}
ROOMS = {"Training Data": {f"oslo_{number}": 2 for number in range(16)}, "Test Data": {"oslo_20": 2, "oslo_21": 1}}


def draw_photos(root: Path, splits: dict[str, dict[str, int]]) -> None:
    """One or two photos of each room: coloured blocks, and the same a little brighter."""
    random = np.random.default_rng(0)
    for split, rooms in splits.items():
        folder = root / "Airbnb Data" / split / "bedroom"
        folder.mkdir(parents=True)
        for room, count in rooms.items():
            blocks = random.integers(0, 200, (6, 8, 3))
            for number in range(count):
                pixels = np.clip(blocks * (1 + 0.2 * number) + random.integers(0, 40, blocks.shape), 0, 255)
                photo = Image.fromarray(pixels.astype(np.uint8)).resize((128, 96), Image.Resampling.NEAREST)
                photo.save(folder / f"{room}_{number}.jpg", quality=90)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos") / "rooms"
    draw_photos(root, ROOMS)
    return root


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So few that concat, which looks at them in many pairs, takes no time."""
    root = tmp_path_factory.mktemp("few") / "rooms"
    draw_photos(root, FEW)
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True, scope="module")
def clean(cache: Path) -> Iterator[None]:
    """Undoes what a run leaves in its process: folder, environment, the types torch may unpickle, threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for each other, the batches are so small
    allowed = torch.serialization.get_safe_globals() if hasattr(torch.serialization, "get_safe_globals") else []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path.cwd())
        patch.setattr(network, "WIDTHS", (512, 256, 128))  # the 7 million weights of concat are written at each epoch
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("XDG_DATA_HOME", str(cache))
        patch.setenv("OMP_NUM_THREADS", "1")
        if hasattr(torch.serialization, "clear_safe_globals"):
            torch.serialization.clear_safe_globals()  # so that resuming works only if model_def sees to it
        yield
    torch.set_num_threads(threads)
    if hasattr(torch.serialization, "clear_safe_globals"):
        torch.serialization.clear_safe_globals()
    if hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals(allowed)


def words(photos: Path, output: Path, *more: str, epochs: int = EPOCHS, **hparams: Any) -> list[str]:
    """The command line of a small run."""
    batch = BATCH if hparams.get("head", "compare") == "compare" else TINY["global_batch_size"]
    settings = {**TINY, "trainable": "head", "global_batch_size": batch, **hparams}
    changes = [f"hyperparameters.{name}={value}" for name, value in settings.items()]
    config = [word for change in (*changes, f"data.held_out={HELD_OUT}") for word in ("--config", change)]
    return ["--data", str(photos), "--epochs", str(epochs), "--output", str(output), *config, *more]


def epochs_in(printed: str) -> list[str]:
    return [line.split()[1].rstrip(":") for line in printed.splitlines() if line.startswith("epoch ")]


def checkpoints(output: Path) -> list[Path]:
    """The whole ones, by the number of batches they have seen."""
    found = (output.parent / "checkpoints" / output.name).rglob("metadata.json")
    return [path.parent for path in sorted(found, key=lambda path: json.loads(path.read_text())["steps_completed"])]


def raw_state(checkpoint: Path) -> dict[str, Tensor]:
    state = torch.load(checkpoint / "state_dict.pth", "cpu", weights_only=False)["models_state_dict"][0]
    assert isinstance(state, dict)
    return state


def scores(model: Model, photos: Path) -> np.ndarray:
    one, other = splits(photos, HELD_OUT)[1].paths[:2]
    return np.array([model.compare(one, one), model.compare(one, other), model.compare(other, one)])


def same(metrics: dict[str, float], others: dict[str, float], off: float = 1e-5) -> None:
    (names,) = (names for names in METRICS.values() if names <= metrics.keys())
    assert [metrics[name] for name in names] == pytest.approx([others[name] for name in names], abs=off)


class Run(NamedTuple):
    output: Path
    printed: str
    losses: tuple[float, ...] = ()  # of each step

    @property
    def last(self) -> Path:
        (checkpoint,) = checkpoints(self.output)
        return checkpoint

    @property
    def metrics(self) -> dict[str, float]:
        """Of the last epoch, which may not be the best."""
        return dict(samespace.load(self.last / "model").description["metrics"])


@pytest.fixture(scope="module")
def trained(photos: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Run]:
    """A run of each kind that nothing interrupts."""

    @functools.cache
    def train(head: str, trainable: str) -> Run:
        output, printed, losses = tmp_path_factory.mktemp("trained") / "model", io.StringIO(), []
        step = SameSpaceTrial.step

        def watched(self: SameSpaceTrial, loss: Tensor, rows: int) -> dict[str, Tensor]:
            losses.append(float(loss.detach()))
            return step(self, loss, rows)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SameSpaceTrial, "step", watched)
            patch.setattr(sys, "stdout", printed)
            root = photos if head == "compare" else few
            assert model_def.main(words(root, output, head=head, trainable=trainable)) == 0
        return Run(output, printed.getvalue(), tuple(losses))

    return train


@pytest.fixture(scope="module")
def whole(trained: Callable[[str, str], Run]) -> Run:
    """Train without a stop, for the interrupted runs to be measured by."""
    return trained("compare", "head")


# Batches


@given(st.integers(1, 300), st.integers(1, 80), st.integers(1, 6), st.integers(0, 5))
def test_workers_see_every_pair_once_an_epoch_in_the_order_of_one_alone(
    count: int, steps: int, workers: int, seed: int
) -> None:
    count, size = count + workers, steps * workers
    slices = list(GlobalBatches(count, size, workers, seed))
    assert sorted(chain(*slices)) == list(range(count))
    assert len(slices) == len(GlobalBatches(count, size, workers, seed))
    assert len(slices) % workers == 0  # all take the same number of steps
    assert all(slices)  # and none has nothing to do

    together = [list(chain(*slices[at : at + workers])) for at in range(0, len(slices), workers)]
    alone = list(GlobalBatches(count, size, 1, seed))
    if len(alone) > len(together):  # too few were left for all workers
        alone[-2:] = [alone[-2] + alone[-1]]
        assert count % size < workers
    assert together == alone


@pytest.mark.parametrize(("photos", "sizes"), [(17, [8, 9]), (18, [8, 8, 2]), (16, [8, 8]), (1, [1])])
def test_what_is_too_few_for_a_step_joins_the_one_before(photos: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in GlobalBatches(photos, 8, workers=1, seed=0, fewest=2)] == sizes


def test_batches_change_from_epoch_to_epoch_and_repeat_from_run_to_run() -> None:
    batches, again, other = (GlobalBatches(50, 8, 2, seed) for seed in (1, 1, 2))
    first, second = list(batches), list(batches)
    assert first != second
    assert [first, second] == [list(again), list(again)]
    assert first != list(other)

    again.epoch = 1
    assert list(again) == second


@pytest.mark.parametrize(("pairs", "workers"), [(40, 1), (40, 2), (40, 7), (1000, 3), (5, 5)])
def test_every_worker_has_something_to_validate(pairs: int, workers: int) -> None:
    # Determined ends a run in which one has not.
    rows = Rows(torch.zeros(pairs, 4, dtype=torch.long))
    context = SimpleNamespace(distributed=SimpleNamespace(get_size=lambda: workers))
    trial: Any = SimpleNamespace(validation_pairs=rows, context=context)
    loader = SameSpaceTrial.build_validation_data_loader(trial)
    sizes = [len(batch) for batch in loader.get_data_loader(repeat=False, skip=0, num_replicas=1, rank=0)]
    assert sum(sizes) == pairs
    assert len(sizes) >= workers
    assert max(sizes) <= model_def.VALIDATION_BATCH


# Here


def test_a_run_here_leaves_a_model_whose_metrics_anyone_can_check(whole: Run, photos: Path) -> None:
    assert epochs_in(whole.printed) == ["1/3", "2/3", "3/3"]
    model = samespace.load(whole.output)
    metrics = model.description["metrics"]
    assert set(metrics) == METRICS["compare"]

    same(evaluate(model, photos, "validation").figures, metrics)


LEAPS = {"head": "concat", "trainable": "last_conv", "learning_rate": 0.014}  # so far that the second epoch is worse


def test_the_best_epoch_is_kept_not_the_last(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_loss = ["--config", "searcher.metric=validation_loss", "--config", "searcher.smaller_is_better=true"]
    assert model_def.main(words(few, tmp_path / "model", *by_loss, **LEAPS)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    losses = [float(line.split("validation_loss ")[1].split(",")[0]) for line in lines]
    best = [line.endswith("best so far") for line in lines]
    assert best == [loss == min(losses[: at + 1]) for at, loss in enumerate(losses)]
    assert not all(best)
    kept = samespace.load(tmp_path / "model").description["metrics"]["validation_loss"]
    assert kept == pytest.approx(min(losses), abs=1e-4)


def test_one_whole_checkpoint_remains_and_carries_the_model(whole: Run, photos: Path) -> None:
    assert {path.name for path in whole.last.iterdir()} >= {"state_dict.pth", "load_data.json", "model", "code"}
    carried = samespace.load(whole.last / "model")
    rebuilt = _rebuilt(whole.last, whole.output.parent / "rebuilt")
    np.testing.assert_allclose(scores(rebuilt, photos), scores(carried, photos), atol=1e-7)


def _rebuilt(checkpoint: Path, folder: Path) -> Model:
    """Exported from a copy that lost its model: only Determined's raw state is left."""
    if not hasattr(torch.serialization, "safe_globals"):
        pytest.skip("rebuilding from the raw state needs torch 2.5")
    shutil.copytree(checkpoint, folder / "checkpoint", ignore=shutil.ignore_patterns("model", "code"))
    export(folder / "checkpoint", folder / "exported")
    return samespace.load(folder / "exported")


def test_the_same_command_trains_the_same_model(trained: Callable[[str, str], Run], few: Path, tmp_path: Path) -> None:
    before = raw_state(trained("concat", "head").last)
    torch.manual_seed(1)
    assert model_def.main(words(few, tmp_path / "model", head="concat", trainable="head")) == 0
    again = raw_state(Run(tmp_path / "model", "").last)
    assert all(value.equal(again[name]) for name, value in before.items())


@pytest.mark.parametrize(("head", "trainable"), [("compare", "head"), ("concat", "head"), ("concat", "last_conv")])
def test_only_what_is_to_learn_learns(head: str, trainable: str, trained: Callable[[str, str], Run]) -> None:
    run = trained(head, trainable)
    first, *_, last = np.split(np.array(run.losses), EPOCHS)
    assert last.mean() < first.mean()

    before = make_backbone(TINY["backbone"], "none").state_dict()
    state = raw_state(run.last)
    changed = {name.split(".")[0] for name, value in before.items() if not value.equal(state[f"trunk.{name}"])}
    assert changed == ({"last"} if trainable == "last_conv" else set())


def test_half_precision_trains_nearly_the_same(trained: Callable[[str, str], Run], few: Path, tmp_path: Path) -> None:
    half = words(few, tmp_path / "model", head="concat", trainable="head", precision="bf16")
    assert model_def.main(half) == 0
    loss = Run(tmp_path / "model", "").metrics["validation_loss"]
    whole = trained("concat", "head").metrics["validation_loss"]
    assert loss != whole and loss == pytest.approx(whole, rel=0.1)
    assert torch.bfloat16 not in {value.dtype for value in raw_state(Run(tmp_path / "model", "").last).values()}


def test_settings_come_from_a_file_and_what_is_laid_over_it(few: Path, tmp_path: Path) -> None:
    config = {"hyperparameters": {**WHOLE, "head": "concat"}, "data": {"dir": "/nowhere", "held_out": HELD_OUT}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(config))
    choices = ["--config", "hyperparameters.trainable=head", "--config", str(file), "--config", "data.held_out=0"]
    output = tmp_path / "model"
    assert model_def.main(["--data", str(few), "--epochs", "1", "--output", str(output), *choices]) == 0

    description = samespace.load(output).description
    assert (description["head"], description["cut"]) == ("concat", "head")
    assert (description["data"]["held_out"], description["data"]["photos"]) == (0, 6)


# Mistakes


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (["--config", "hyperparameters.dropout4=0.4"], "unknown hyperparameter 'dropout4'"),
        (["--config", "hyperparameters.learning_rate=fast"], "learning_rate cannot be 'fast'"),
        (["--config", "hyperparameters.alpha=1"], "alpha cannot be 1"),
        (["--config", "hyperparameters.global_batch_size=6.4"], "global_batch_size cannot be 6.4"),
        (["--config", "hyperparameters.head=tail"], "choose one of compare, concat"),
        (["--config", "hyperparameters.trainable=all"], "choose one of head, last_conv"),
        (["--config", "hyperparameters.backbone=oak"], "choose one of mobilenet_v3_large"),
        (["--config", "hyperparameters.backbone=[oak]"], "backbone cannot be ['oak']"),
        (["--config", "hyperparameters.weights=/nowhere.pth"], "no weights file at /nowhere.pth"),
        (["--config", "hyperparameters.precision=fp8"], "choose one of fp32, bf16"),
        (["--config", "hyperparameters.precision=[fp32]"], "choose one of fp32, bf16"),
        (["--config", "hyperparameters.same_space_type=perhaps"], "same_space_type cannot be 'perhaps'"),
        (["--config", "hyperparameters=3"], "cannot use --config"),
        (["--config", "hyperparameters.head=["], "cannot use --config"),
        (["--config", f"hyperparameters.head={'[' * 999}"], "cannot use --config"),
        (["--config", "data=5"], "cannot use --config"),
        (["--config", "searcher=5"], "searcher cannot be 5"),
        (["--config", "data.held_out=.nan"], "data.held_out cannot be nan"),
        (["--config", "data.cache=[here]"], "data.cache cannot be ['here']"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--epochs", "0"], "epochs cannot be 0"),
        (["--data", "/nowhere"], "/nowhere does not exist"),
        (["--resume", "latest"], "no checkpoint"),
        (["--resume", "/nowhere"], "/nowhere is not a checkpoint"),
        (["--output", "/dev/null/model"], "cannot write beside /dev/null/model"),
        (["--output", str(ROOT / "experiments" / "model")], "experiments/model lies among the code"),
        (["--output", str(ROOT / "samespace")], "samespace lies among the code"),
        (["--output", str(ROOT / "const.yaml")], "const.yaml (it is no folder): name another folder"),
    ],
)
def test_a_mistake_is_one_line(
    mistake: list[str], says: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert model_def.main(words(photos, tmp_path / "model") + mistake) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err
    assert not (tmp_path / "model").exists()


def test_a_folder_with_somebody_elses_model_is_refused_before_the_work(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.json").write_text('{"theirs": 1}')
    assert model_def.main(words(photos, tmp_path)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    says = f"error: {tmp_path / 'model.json'} already exists, and is not a model of samespace: name another folder\n"
    assert printed.err == says


def test_a_missing_hyperparameter_is_named() -> None:
    with pytest.raises(SameSpaceError, match="hyperparameter alpha is missing"):
        check({name: value for name, value in WHOLE.items() if name != "alpha"})


def test_a_batch_must_divide_among_the_workers() -> None:
    check({**WHOLE, "global_batch_size": 66}, workers=3)
    with pytest.raises(SameSpaceError, match="64 does not divide among 3 workers: give a multiple of 3"):
        check({**WHOLE, "global_batch_size": 64}, workers=3)


# Stopping, and going on


def test_a_run_stopped_within_an_epoch_goes_on_as_if_nothing_had_been(
    whole: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model"
    steps = json.loads((whole.last / "metadata.json").read_text())["steps_completed"] // EPOCHS
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        stop_at(CompareTrial, steps + 2, patch)
        model_def.main(words(photos, output))
    assert epochs_in(capsys.readouterr().out) == ["1/3"]
    assert set(samespace.load(output).description["metrics"]) == METRICS["compare"]

    assert model_def.main(words(photos, output, "--resume", "latest")) == 0
    resumed = Run(output, capsys.readouterr().out)
    assert epochs_in(resumed.printed) == ["2/3", "3/3"]
    assert resumed.metrics == whole.metrics
    expected = raw_state(whole.last)
    assert all(value.equal(expected[name]) for name, value in raw_state(resumed.last).items())
    same(samespace.load(output).description["metrics"], samespace.load(whole.output).description["metrics"])


def test_a_finished_run_can_be_made_longer_beside_another(
    whole: Run, photos: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole.output.parent, tmp_path / "runs")
    output, other = tmp_path / "runs" / "model", tmp_path / "runs" / "other"
    assert model_def.main(words(few, other, epochs=1, head="concat")) == 0
    assert model_def.main(words(photos, output, "--resume", "latest")) == 0
    last = Run(output, "").last
    assert model_def.main(words(photos, output, "--resume", str(last), epochs=EPOCHS + 1)) == 0
    assert epochs_in(capsys.readouterr().out) == ["1/1", "4/4"]
    assert len(checkpoints(other)) == 1


def test_a_run_that_goes_on_elsewhere_begins_with_the_checkpoints_own_model(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The loss falls, and is wanted high: the first epoch is the best, and no later one beats the one before it.
    by_loss = ["--config", "searcher.metric=validation_loss", "--config", "searcher.smaller_is_better=false"]
    output, new = tmp_path / "model", tmp_path / "elsewhere" / "model"
    assert model_def.main(words(few, output, *by_loss, epochs=2, head="concat")) == 0
    last, best = Run(output, "").last, samespace.load(output).description["metrics"]
    backup = str(shutil.copytree(last, tmp_path / "backup"))
    assert model_def.main(words(few, output, *by_loss, "--resume", backup, epochs=2, head="concat")) == 0
    assert samespace.load(output).description["metrics"] == best, "a copy of the checkpoint is as good"
    shutil.rmtree(output)
    for folder, resume, epochs in ((new, str(last), 3), (output, "latest", 2)):
        capsys.readouterr()
        assert model_def.main(words(few, folder, *by_loss, "--resume", resume, epochs=epochs, head="concat")) == 0
        metrics = samespace.load(folder).description["metrics"]
        assert metrics == samespace.load(last / "model").description["metrics"]
        said = f"best: epoch 2, validation_loss {metrics['validation_loss']:.4f}, in {folder}"
        assert said in capsys.readouterr().out.splitlines()


def test_a_run_by_another_metric_begins_with_the_checkpoints_own_model(
    whole: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--resume", str(whole.last), "--config", "searcher.metric=roc_auc"]
    assert model_def.main(words(photos, tmp_path / "model", *more)) == 0
    assert samespace.load(tmp_path / "model").description["metrics"] == whole.metrics
    assert f"best: epoch 3, roc_auc {whole.metrics['roc_auc']:.4f}, in " in capsys.readouterr().out


def test_a_checkpoint_of_an_earlier_version_goes_on(whole: Run, photos: Path, tmp_path: Path) -> None:
    earlier = Path(shutil.copytree(whole.last, tmp_path / "earlier")) / "state_dict.pth"
    state = torch.load(earlier, weights_only=False)
    del state["callbacks"]["log"]["latest"]
    torch.save(state, earlier)
    assert model_def.main(words(photos, tmp_path / "model", "--resume", str(earlier.parent))) == 0


def test_a_run_goes_on_only_with_the_network_it_had(
    whole: Run, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert model_def.main(words(photos, whole.output, "--resume", "latest", head="concat")) == 1
    assert f"{whole.last} was trained with head compare, not concat: " in capsys.readouterr().err


@pytest.mark.parametrize("error", [PermissionError(13, "not yours", "state_dict.pth"), OSError("a bad disk\nthere")])
def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(
    error: OSError,
    whole: Run,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def load(*given: Any, **named: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "load", load)
    assert model_def.main(words(photos, tmp_path / "model", "--resume", str(whole.last))) == 1
    says = f"error: cannot resume from {whole.last}: {str(error).splitlines()[0]}"
    assert capsys.readouterr().err.splitlines()[-1] == says


def test_a_checkpoint_needs_all_of_its_files(
    whole: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shutil.copytree(whole.last, tmp_path / "part") / "trial_state.pkl").unlink()
    assert model_def.main(words(photos, tmp_path / "model", "--resume", str(tmp_path / "part"))) == 1
    assert f"error: {tmp_path / 'part'} is not a checkpoint: " in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("load_data.json", b"{"),
        ("load_data.json", b"{}"),
        ("load_data.json", b'{"hparams": 3}'),
        ("state_dict.pth", None),
        ("state_dict.pth", b""),
        ("trial_state.pkl", b"spoilt"),
    ],
)
def test_a_damaged_checkpoint_is_named(
    name: str, content: bytes | None, whole: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = Path(shutil.copytree(whole.last, tmp_path / "spoilt")) / name
    spoilt.write_bytes(spoilt.read_bytes()[:-1000] if content is None else content)
    assert model_def.main(words(photos, tmp_path / "model", "--resume", str(spoilt.parent))) == 1
    says = f"error: {spoilt.parent} is damaged or not a checkpoint of SameSpace: "
    assert capsys.readouterr().err.splitlines()[-1].startswith(says)
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_of_packages_that_are_not_here_is_named(
    whole: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*given: Any, **named: Any) -> None:
        raise ModuleNotFoundError("No module named 'numpy._core'")

    monkeypatch.setattr(torch, "load", load)
    assert model_def.main(words(photos, tmp_path / "model", "--resume", str(whole.last))) == 1
    says = f"error: {whole.last} was written with other packages (No module named 'numpy._core'): "
    assert capsys.readouterr().err.splitlines()[-1].startswith(says)


@pytest.mark.parametrize("change", ["a photo more", "others held out"])
def test_a_run_goes_on_only_with_the_photos_it_had(
    change: str, whole: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(photos, tmp_path / "rooms"))
    more = ["--resume", str(whole.last)]
    if change == "a photo more":
        folder = root / "Airbnb Data" / "Training Data" / "bedroom"
        shutil.copy(folder / "oslo_1_0.jpg", folder / "oslo_1_9.jpg")
    else:
        more += ["--config", "data.held_out=0.3"]
    assert model_def.main(words(root, tmp_path / "model", *more)) == 1
    assert f"error: {whole.last} was trained on other photos, or with others held out: " in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_run_goes_on_with_the_same_photos_in_another_folder(whole: Run, photos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(photos, tmp_path / "moved")
    assert model_def.main(words(root, tmp_path / "model", "--resume", str(whole.last))) == 0


@pytest.fixture(scope="module")
def killed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A real process on a copy of the project that lies among private things, killed after its second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    project = folder / "project"
    project.mkdir()
    for name in ("model_def.py", "data.py", "const.yaml", ".detignore"):
        shutil.copy(ROOT / name, project)
    for name in ("samespace", "experiments"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for decoy in ("kaggle.json", "photos/mine.jpg", "data/Airbnb Data/a.jpg", "model/a.safetensors", ".venv/a.py"):
        (project / decoy).parent.mkdir(parents=True, exist_ok=True)
        (project / decoy).write_text("private")
    output = folder / "model"
    command = [sys.executable, str(project / "model_def.py"), *words(photos, output)]
    printed = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed += line
            if line.startswith("epoch 2/"):
                process.kill()
                break
    assert process.returncode == -9, printed
    return Run(output, printed)


def test_a_killed_run_leaves_a_model_and_goes_on(
    killed: Run, whole: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(killed.output.parent, tmp_path / "runs", ignore=shutil.ignore_patterns("project"))
    output = tmp_path / "runs" / "model"
    assert set(samespace.load(output).description["metrics"]) == METRICS["compare"]

    assert model_def.main(words(photos, output, "--resume", "latest")) == 0
    resumed = Run(output, capsys.readouterr().out)
    # The second epoch counts as trained only if its checkpoint was whole by then.
    assert epochs_in(resumed.printed) in (["2/3", "3/3"], ["3/3"])
    same(resumed.metrics, whole.metrics)


def test_checkpoints_carry_the_code_and_nothing_private(killed: Run) -> None:
    project, checkpoint = killed.output.parent / "project", checkpoints(killed.output)[0]
    code = [path.relative_to(checkpoint / "code") for path in (checkpoint / "code").rglob("*") if path.is_file()]
    assert {path.parts[0] for path in code} == {"model_def.py", "data.py", "const.yaml", "samespace", "experiments"}
    needed = [path.relative_to(project) for path in project.glob("**/*.py") if path.parts[-2] != ".venv"]
    uploaded = {path for path in needed if not {"cli", "web"} & set(path.parts)}
    assert {path for path in code if path.suffix == ".py"} == uploaded
    assert {path.name for path in code if path.suffix != ".py"} == {"const.yaml", "adaptive.yaml", "py.typed"}
    # Not __main__: nobody could import that.
    spec = json.loads((checkpoint / "load_data.json").read_text())["trial_cls_spec"]
    assert spec == "model_def:CompareTrial"


# Scores that are no numbers


def spoil_after_an_epoch(patch: pytest.MonkeyPatch) -> None:
    """Make what learns NaN in the second epoch."""
    step = SameSpaceTrial.step

    def spoilt(self: SameSpaceTrial, loss: Tensor, rows: int) -> dict[str, Tensor]:
        taken = step(self, loss, rows)
        if self.log.epoch == 1:
            with torch.no_grad():
                next(value for value in self.network.parameters() if value.requires_grad).fill_(float("nan"))
        return taken

    patch.setattr(SameSpaceTrial, "step", spoilt)


def test_here_a_run_that_diverges_says_so_and_keeps_what_was_good(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil_after_an_epoch(monkeypatch)
    output = tmp_path / "model"
    assert model_def.main(words(photos, output)) == 1
    printed = capsys.readouterr()
    assert printed.err.endswith("error: the validation loss is no longer finite: lower learning_rate\n")
    assert epochs_in(printed.out) == ["1/3"]
    run = Run(output, printed.out)
    assert all(value.isfinite().all() for value in raw_state(run.last).values())
    assert samespace.load(output).description["metrics"] == run.metrics


# On a cluster


def experiment(few: Path, cache: Path) -> dict[str, Any]:
    """adaptive.yaml, but small and with the folders of this machine."""
    config = yaml.safe_load((ROOT / "adaptive.yaml").read_text())
    config["hyperparameters"] |= {**TINY, "epochs": EPOCHS, "learning_rate": {"type": "log"}}
    # Few photos rank alike after every epoch, but their loss tells epochs apart. It falls, and this search wants it
    # high, so that the last epoch is not the best.
    config["searcher"] |= {"max_time": EPOCHS, "metric": "validation_loss", "smaller_is_better": False}
    config["data"] = {"dir": str(few), "cache": str(cache / "samespace"), "held_out": HELD_OUT}
    return dict(config)


CHOSEN = {"head": "concat", "learning_rate": 0.0005, "alpha": 0.8, "dropout1": 0.3, "dropout2": 0.4, "dropout3": 0.5}


@pytest.fixture(scope="module")
def searched(few: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    """A whole trial of a search."""
    with StubMaster(tmp_path_factory.mktemp("store"), CHOSEN, experiment(few, cache)) as master:
        assert model_def.main([]) == 0
    return master


def test_a_trial_trains_what_the_search_chose(searched: StubMaster) -> None:
    checkpoint = searched.checkpoints[-1].path
    hparams = json.loads((checkpoint / "load_data.json").read_text())["hparams"]
    assert {name: hparams[name] for name in CHOSEN} == CHOSEN
    assert samespace.load(checkpoint / "model").description["head"] == "concat"
    (group,) = torch.load(checkpoint / "state_dict.pth", weights_only=False)["optimizers_state_dict"][0]["param_groups"]
    assert (group["lr"], group["alpha"]) == (0.0005, 0.8)


def test_every_validation_reports_the_same_metrics(searched: StubMaster) -> None:
    assert [set(report) for report in searched.validation_metrics] == [
        METRICS["concat"] | {"epochs", "batches"}
    ] * EPOCHS
    assert [report["epochs"] for report in searched.validation_metrics] == [1, 2, 3]
    assert all(isinstance(value, (int, float)) for report in searched.validation_metrics for value in report.values())
    assert searched.early_exit is None
    losses = [report["loss"] for report in searched.training_metrics]
    assert losses[-1] < losses[0]


def test_the_best_checkpoint_carries_the_model_it_was_chosen_for(
    searched: StubMaster, few: Path, tmp_path: Path
) -> None:
    by_steps = {checkpoint.metadata["steps_completed"]: checkpoint.path for checkpoint in searched.checkpoints}
    best = max(searched.validation_metrics, key=lambda report: float(report["validation_loss"]))
    assert best != searched.validation_metrics[-1]
    checkpoint = by_steps[best["batches"]]
    model = samespace.load(checkpoint / "model")
    same(model.description["metrics"], best)
    same(evaluate(model, few, "validation").figures, best, off=1e-3)  # of pairs as good as equal the order may change

    export(checkpoint, tmp_path / "exported")
    carried, rebuilt = samespace.load(tmp_path / "exported"), _rebuilt(checkpoint, tmp_path / "raw")
    assert carried.description == model.description
    np.testing.assert_array_equal(scores(carried, few), scores(model, few))
    np.testing.assert_allclose(scores(rebuilt, few), scores(model, few), atol=1e-7)


def test_a_trial_that_is_stopped_leaves_a_checkpoint_and_goes_on_from_it(
    searched: StubMaster, few: Path, cache: Path, tmp_path: Path
) -> None:
    config = experiment(few, cache)
    with StubMaster(tmp_path, CHOSEN, config, stop_after_epoch=1) as stopped:
        assert model_def.main([]) == 0
    assert [report["epochs"] for report in stopped.validation_metrics] == [1]
    checkpoint = stopped.checkpoints[-1]
    assert checkpoint.metadata["steps_completed"] == stopped.validation_metrics[0]["batches"]
    same(samespace.load(checkpoint.path / "model").description["metrics"], stopped.validation_metrics[0])

    with StubMaster(tmp_path, CHOSEN, config, latest_checkpoint=checkpoint.uuid) as resumed:
        assert model_def.main([]) == 0
    assert [report["epochs"] for report in resumed.validation_metrics] == [2, 3]
    # Dropout included: the order of the pairs and every random state continue.
    reports = [*stopped.validation_metrics, *resumed.validation_metrics]
    for report, uninterrupted in zip(reports, searched.validation_metrics, strict=True):
        assert report == uninterrupted


def test_a_trial_paused_within_an_epoch_then_killed_is_to_the_bit_as_one_left_alone(
    searched: StubMaster, few: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(few, cache)
    steps = int(searched.validation_metrics[0]["batches"])  # of an epoch
    monkeypatch.setattr(experiments.trial, "BATCHES_BETWEEN_REPORTS", steps + 2)
    with StubMaster(tmp_path, CHOSEN, config) as paused:
        call_at(ConcatTrial, steps + 1, paused.stop, monkeypatch)
        assert model_def.main([]) == 0
    assert paused.checkpoints[-1].metadata["steps_completed"] == steps + 2
    latest = paused.checkpoints[-1].uuid

    killed = StubMaster(tmp_path, CHOSEN, config, latest_checkpoint=latest)
    with killed, pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        stop_at(ConcatTrial, 2 * steps - 4, patch)  # in its third epoch
        model_def.main([])
    latest = killed.checkpoints[-1].uuid if killed.checkpoints else latest
    with StubMaster(tmp_path, CHOSEN, config, latest_checkpoint=latest) as continued:
        assert model_def.main([]) == 0

    reports = {report["batches"]: report for run in (paused, killed, continued) for report in run.validation_metrics}
    assert list(reports.values()) == searched.validation_metrics
    ends = (raw_state(run.checkpoints[-1].path) for run in (continued, searched))
    assert all(one.equal(other) for one, other in zip(*(end.values() for end in ends), strict=True))


def test_on_a_cluster_a_trial_that_diverges_gives_its_hyperparameters_back(
    few: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_after_an_epoch(monkeypatch)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # Determined ends with the `exit` of the prompt, which closes it
    with StubMaster(tmp_path, CHOSEN, experiment(few, cache)) as master, pytest.raises(SystemExit):
        model_def.main([])

    assert master.early_exit == "EXITED_REASON_INVALID_HP"
    # Of the spoilt epoch nothing was reported: NaN would end the whole search.
    assert [report["epochs"] for report in master.validation_metrics] == [1]
    assert isinstance(master.best_validation(), float)


def test_on_a_cluster_a_mistake_fails_the_trial(
    few: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StubMaster(tmp_path, {**CHOSEN, "head": "tail"}, experiment(few, cache)) as master:
        assert model_def.main([]) == 1
    assert "error: head cannot be 'tail'" in capsys.readouterr().err
    assert master.early_exit is None
    assert determined.get_cluster_info() is None


def test_photos_that_are_not_on_the_agent_are_named_with_it(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))  # which holds no key
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    with StubMaster(tmp_path, CHOSEN, experiment(tmp_path / "data", cache)):
        assert model_def.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: no photos in {tmp_path}/data on agent agent: put the folder 'Airbnb Data' there (")


# Two workers

# A forked process has all modules already. Elsewhere it could not go on, and imports them for itself.
START = "fork" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"


def work(folder: Path, run: list[str]) -> None:
    """What each of two workers does: train, and note what it saw."""
    seen, waits, trials = [], [], []
    start, train_batch = CompareTrial.__init__, CompareTrial.train_batch
    forward = DistributedDataParallel.forward

    def started(self: Any, context: Any) -> None:
        start(self, context)
        trials.append(self)

    def watched(self: Any, batch: Tensor, epoch_idx: int, batch_idx: int) -> Any:
        seen.append(batch.tolist())
        return train_batch(self, batch, epoch_idx, batch_idx)

    def waited(self: Any, *given: Any) -> Any:
        waits.append(1)
        return forward(self, *given)

    patch = pytest.MonkeyPatch()  # for good: the process is this worker's own
    patch.setattr(model_def, "VALIDATION_BATCH", 30)  # three batches: one worker has one more than the other
    patch.setattr(CompareTrial, "__init__", started)
    patch.setattr(CompareTrial, "train_batch", watched)
    patch.setattr(DistributedDataParallel, "forward", waited)
    rank = os.environ["RANK"]
    with (folder / f"{rank}.txt").open("w") as printed, redirect_stdout(printed):
        assert model_def.main(run) == 0
    (trial,) = trials
    weights = hashlib.sha256(b"".join(value.numpy().tobytes() for value in trial.network.state_dict().values()))
    notes = {"seen": seen, "waits": len(waits), "weights": weights.hexdigest(), "metrics": trial.log.latest}
    notes["rows"] = trial.pairs.rows.tolist()
    (folder / f"{rank}.json").write_text(json.dumps(notes))


class Workers(NamedTuple):
    run: Run
    notes: list[dict[str, Any]]


@pytest.fixture(scope="module")
def alone(trained: Callable[[str, str], Run]) -> Run:
    """What the two workers share, done by one."""
    return trained("compare", "head")


@pytest.fixture(scope="module")
def workers(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Workers:
    """Two processes that torchrun's own launcher starts."""
    folder = tmp_path_factory.mktemp("workers")
    run = words(photos, folder / "model", "--config", f"data.cache={folder / 'cache'}")
    config = LaunchConfig(1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0, start_method=START)
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    elastic_launch(config, work)(folder, run)
    for number, handler in handlers.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
    printed, notes = ([(folder / f"{rank}.{kind}").read_text() for rank in (0, 1)] for kind in ("txt", "json"))
    return Workers(Run(folder / "model", "".join(printed)), [json.loads(text) for text in notes])


def test_two_workers_share_every_step_of_one(workers: Workers, photos: Path) -> None:
    seen0, seen1 = (notes["seen"] for notes in workers.notes)
    assert len(seen0) == len(seen1)
    rows = torch.tensor(workers.notes[0]["rows"])
    batches = GlobalBatches(len(rows), BATCH, 1, SEED)
    alone = [rows[batch].tolist() for _ in range(EPOCHS) for batch in batches]
    assert [part0 + part1 for part0, part1 in zip(seen0, seen1, strict=True)] == alone

    times = Counter(tuple(row) for steps in (seen0, seen1) for step in steps for row in step)
    assert set(times.values()) == {EPOCHS}
    assert len(times) == len(rows)


def test_of_two_workers_the_chief_computes_the_bank_and_speaks(workers: Workers) -> None:
    lines = [line.split(" ")[0] for line in workers.run.printed.splitlines()]
    assert lines == ["feature", "feature", "evidence", "training", "epoch", "epoch", "epoch", "best:"]
    assert workers.run.printed.count(": computed in ") == 3


def test_two_workers_wait_for_each_other_only_where_both_take_part(workers: Workers) -> None:
    # The wrapper exchanges buffers whenever it is called: in validation one worker would call it once more.
    assert [notes["waits"] for notes in workers.notes] == [len(notes["seen"]) for notes in workers.notes]


def test_two_workers_learn_what_one_learns(workers: Workers, alone: Run) -> None:
    assert epochs_in(workers.run.printed) == ["1/3", "2/3", "3/3"]  # one of them speaks
    notes0, notes1 = workers.notes
    assert notes0["weights"] == notes1["weights"]
    assert notes0["metrics"] == notes1["metrics"]
    assert notes0["metrics"] == pytest.approx(alone.metrics, abs=1e-3)


def test_the_checkpoint_of_two_workers_can_be_exported_and_continued_by_one(
    workers: Workers, alone: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, expected = raw_state(workers.run.last), raw_state(alone.last)
    assert set(state) == {f"module.{name}" for name in expected}
    for name, value in expected.items():
        torch.testing.assert_close(state[f"module.{name}"], value, rtol=0, atol=1e-2)

    carried = samespace.load(workers.run.last / "model")
    same(evaluate(carried, photos, "validation").figures, workers.notes[0]["metrics"])
    rebuilt = _rebuilt(workers.run.last, tmp_path / "raw")
    np.testing.assert_allclose(scores(rebuilt, photos), scores(carried, photos), atol=1e-7)

    more = words(photos, tmp_path / "model", "--resume", str(workers.run.last), epochs=EPOCHS + 1)
    assert model_def.main(more) == 0
    assert epochs_in(capsys.readouterr().out) == ["4/4"]


def test_of_the_masked_secrets_only_the_kaggle_key_reaches_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(root: Path) -> None:
        raise SameSpaceError(f"{root}: {os.environ['KAGGLE_USERNAME']}, {os.environ['KAGGLE_KEY']}")

    path = os.environ["PATH"]
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "old")
    monkeypatch.setattr(model_def.data, "download", stop)
    secrets = {"kaggle_username": "ada", "kaggle_key": "new", "path": "/nowhere"}
    info = SimpleNamespace(user_data={"dir": "/photos", "secrets": secrets})
    with pytest.raises(SameSpaceError, match="/photos: ada, new"):
        model_def.train_on_agent(info)
    assert os.environ["PATH"] == path


@pytest.mark.parametrize(
    ("text", "says"), [("data: {dir: /x}", "has no hyperparameters"), ("hyperparameters: {}", "give --data ROOT")]
)
def test_a_file_that_lacks_a_section_is_named(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(text)
    with pytest.raises(SameSpaceError, match=says):
        read_config([str(file)])
