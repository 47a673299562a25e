"""What Determined is given: the experiment files, the upload and the startup hook."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from determined.common import constants, context, v1file_utils

from tests.conftest import ROOT

TRAININGS = ("adaptive.yaml", "const.yaml", "distributed.yaml")
EMBED = "experiments/embed/const.yaml"
COMPRESSIONS = ("experiments/compress/adaptive.yaml", "experiments/compress/const.yaml")
MATCHES = ("experiments/match/adaptive.yaml", "experiments/match/const.yaml")
CAPTIONS = ("experiments/caption/adaptive.yaml", "experiments/caption/const.yaml")
EXPERIMENTS = (*TRAININGS, EMBED, *COMPRESSIONS, *MATCHES, *CAPTIONS)
PARTS = {"name", "entrypoint", "max_restarts", "hyperparameters", "searcher", "data", "bind_mounts", "environment"}
PARTS |= {"description", "resources", "checkpoint_storage", "reproducibility", "log_policies"}
SEARCHER_KEYS = {
    "single": {"name", "metric", "smaller_is_better"},
    "adaptive_asha": {"name", "metric", "smaller_is_better", "max_trials", "time_metric", "max_time"},
}
# Only the retired `entrypoint: module:Trial` reads these; with a script they would look like settings and do nothing.
IGNORED = {"records_per_epoch", "min_validation_period", "min_checkpoint_period", "scheduling_unit", "profiling"}
IGNORED |= {"perform_initial_validation", "checkpoint_policy", "optimizations", "max_length"}

Config = dict[str, Any]


def read(name: str) -> Config:
    config = yaml.safe_load((ROOT / name).read_text())
    assert isinstance(config, dict)
    return config


# The experiment files


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_master_would_take_the_experiment(name: str) -> None:
    config = read(name)
    assert set(config) <= PARTS
    assert not IGNORED & {*config, *config["searcher"]}
    assert set(config["searcher"]) == SEARCHER_KEYS[config["searcher"]["name"]]
    assert isinstance(config["searcher"]["metric"], str)
    assert all("=" in variable for variable in config.get("environment", {}).get("environment_variables", []))
    assert all(mount["host_path"].startswith("/") for mount in config["bind_mounts"])


# What the master reads each field as. It refuses others though they pass its schema, which takes a shm_size of 4G, and
# drops fields that it does not know without a word. Go reads no 1.0 as an integer, and no 1 as a text.
WHOLE, NUMBER, TEXT, YES_OR_NO = (int,), (int, float), (str,), (bool,)
READ_AS: Config = {
    "name": TEXT,
    "description": TEXT,
    "entrypoint": TEXT,
    "max_restarts": WHOLE,
    "searcher": {
        **dict.fromkeys(("name", "metric", "time_metric"), TEXT),
        **dict.fromkeys(("max_trials", "max_time"), WHOLE),
        "smaller_is_better": YES_OR_NO,
    },
    "bind_mounts": [{"host_path": TEXT, "container_path": TEXT, "read_only": YES_OR_NO}],
    "environment": {"environment_variables": [TEXT]},
    "resources": {"slots_per_trial": WHOLE, "shm_size": WHOLE},
    "checkpoint_storage": dict.fromkeys(("save_experiment_best", "save_trial_best", "save_trial_latest"), WHOLE),
    "reproducibility": {"experiment_seed": WHOLE},
    "log_policies": [{"name": TEXT, "pattern": TEXT, "action": TEXT}],
}
SPACES: Config = {
    "categorical": {"type": TEXT},
    "double": {"type": TEXT, "minval": NUMBER, "maxval": NUMBER},
    "log": {"type": TEXT, "base": NUMBER, "minval": NUMBER, "maxval": NUMBER},
}


def misread(value: Any, as_: Any, place: str) -> list[str]:
    """Every place in a config that the master cannot read, or would not look at."""
    if isinstance(as_, dict) and isinstance(value, dict):
        return [
            found
            for key, part in value.items()
            for found in (misread(part, as_[key], f"{place}.{key}") if key in as_ else [f"{place}.{key} is unknown"])
        ]
    if isinstance(as_, list) and isinstance(value, list):
        return [found for number, part in enumerate(value) for found in misread(part, as_[0], f"{place}[{number}]")]
    return [] if isinstance(as_, tuple) and type(value) in as_ else [f"{place} is {value!r}"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_master_can_read_every_field(name: str) -> None:
    config = read(name)
    free = {key: config.pop(key) for key in ("data", "hyperparameters")}  # which it hands on as they are
    assert misread(config, READ_AS, name) == []
    for key, value in free["hyperparameters"].items():
        if isinstance(value, dict):
            space = {part: given for part, given in value.items() if part != "vals"}
            assert misread(space, SPACES[value["type"]], key) == []


def test_what_a_real_master_refused_is_refused_here() -> None:
    assert misread({"resources": {"shm_size": "4G"}}, READ_AS, "config") == ["config.resources.shm_size is '4G'"]
    assert misread({"searcher": {"max_length": 3}}, READ_AS, "config") == ["config.searcher.max_length is unknown"]
    assert misread({"max_restarts": True, "bind_mounts": {}}, READ_AS, "config") == [
        "config.max_restarts is True",
        "config.bind_mounts is {}",
    ]


def test_every_experiment_file_is_held_to_this() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.yaml"), *ROOT.glob("experiments/**/*.yaml"))}
    assert found == set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_searched_hyperparameters_are_well_formed(name: str) -> None:
    for key, value in read(name)["hyperparameters"].items():
        if not isinstance(value, dict):
            assert isinstance(value, (int, float, str, bool)), key
            assert not _number_in_text(value), f"{key}: PyYAML reads {value!r} as text"
        elif value["type"] == "categorical":
            assert len(value["vals"]) > 1, key
        else:
            assert value["type"] != "log" or value["base"] == 10, key
            assert value["minval"] < value["maxval"], key


def _number_in_text(value: object) -> bool:
    return isinstance(value, str) and value[:1].isdigit()


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_tells_determined_what_it_needs(name: str) -> None:
    config = read(name)
    assert (config["searcher"]["metric"], config["searcher"]["smaller_is_better"]) == ("average_precision", False)
    assert isinstance(config["hyperparameters"]["global_batch_size"], int)


@pytest.mark.parametrize("name", (*TRAININGS, *MATCHES, *CAPTIONS))
def test_data_and_cache_lie_on_the_writable_mount(name: str) -> None:
    config = read(name)
    (mount,) = config["bind_mounts"]
    assert mount["read_only"] is False
    home = mount["container_path"] + "/"
    assert home.startswith("/")
    assert config["data"]["dir"].startswith(home)
    assert config["data"]["cache"].startswith(home)


def test_the_files_share_hyperparameters() -> None:
    adaptive, const, distributed = (read(name)["hyperparameters"] for name in TRAININGS)
    assert list(adaptive) == list(const)
    assert const == distributed
    for key, value in const.items():
        if key == "epochs":  # the search's is its longest trial
            continue
        searched = adaptive[key]
        if not isinstance(searched, dict):
            assert searched == value, key
        elif searched["type"] == "categorical":
            assert value in searched["vals"], key
        elif searched["type"] == "double":
            assert searched["minval"] <= value <= searched["maxval"], key


def test_the_search_is_the_one_described() -> None:
    config = read("adaptive.yaml")
    searcher, hyperparameters = config["searcher"], config["hyperparameters"]
    assert (searcher["name"], searcher["max_trials"]) == ("adaptive_asha", 128)
    assert (searcher["max_time"], searcher["time_metric"]) == (hyperparameters["epochs"], "epochs")
    assert hyperparameters["learning_rate"] == {"type": "log", "base": 10, "minval": -4, "maxval": -2}
    assert hyperparameters["alpha"] == {"type": "double", "minval": 0.6, "maxval": 0.99}
    for dropout in ("dropout1", "dropout2", "dropout3"):
        assert hyperparameters[dropout] == {"type": "double", "minval": 0.2, "maxval": 0.6}
    assert hyperparameters["head"] == {"type": "categorical", "vals": ["compare", "concat"]}


def test_the_docs_count_the_trials_as_det_preview_search_does() -> None:
    """The master's arithmetic, by which it said so of this file: brackets of ASHA, in which a quarter goes on."""
    searcher = read("adaptive.yaml")["searcher"]
    trials, longest = searcher["max_trials"], searcher["max_time"]
    rungs = min(5, int(math.log(longest, 4)) + 1, int(math.log(trials, 4)) + 1)
    brackets = range(rungs, (rungs - 1) // 2, -1)  # of a `standard` search
    weights = [4 ** (each - 1) / each for each in brackets]
    ends, left = Counter[int](), trials
    for each, weight in zip(brackets, weights, strict=True):
        running = min(left, math.ceil(trials * weight / sum(weights)))
        left -= running
        for rung in range(each - 1, 0, -1):
            ends[longest // 4**rung] += running - running // 4
            running //= 4
        ends[longest] += running
    epochs = sum(length * count for length, count in ends.items())
    (first, second, last), counts = sorted(ends), [ends[length] for length in sorted(ends)]
    said = (
        f"says {counts[0]} trials of {first} epoch, {counts[1]} of {second} and {counts[2]} of {last}: {epochs} epochs"
    )
    assert said in " ".join((ROOT / "docs/training.md").read_text().split())


def test_many_gpus_change_only_how_it_is_launched() -> None:
    const, distributed = read("const.yaml"), read("distributed.yaml")
    assert distributed["entrypoint"] == f"python3 -m determined.launch.torch_distributed {const['entrypoint']}"
    assert distributed["hyperparameters"]["global_batch_size"] % distributed["resources"]["slots_per_trial"] == 0
    launch = {"name", "entrypoint", "resources"}
    assert {key for key in PARTS if const.get(key) != distributed.get(key)} == launch


def test_the_embedding_writes_nowhere_near_the_photos() -> None:
    config = read(EMBED)
    photos, home = config["bind_mounts"]
    assert (config["data"]["dir"], photos["read_only"]) == (photos["container_path"], True)
    (cache,) = config["environment"]["environment_variables"]
    assert cache.startswith(f"TORCH_HOME={home['container_path']}/")
    assert home["read_only"] is False


def test_the_embedding_is_launched_as_a_module_that_the_upload_holds() -> None:
    """Run by its path it would not find the package that is uploaded beside it."""
    launcher = "python3 -m determined.launch.torch_distributed python3 -m "
    entrypoint = read(EMBED)["entrypoint"]
    assert entrypoint.startswith(launcher)
    module = entrypoint[len(launcher) :]
    assert f"{module.replace('.', '/')}.py" in NEEDED


def test_the_compressions_share_all_but_the_search() -> None:
    adaptive, const = (read(name) for name in COMPRESSIONS)
    assert {key for key in PARTS if adaptive.get(key) != const.get(key)} == {"name", "hyperparameters", "searcher"}
    searched = {key for key, value in adaptive["hyperparameters"].items() if value != const["hyperparameters"][key]}
    assert list(adaptive["hyperparameters"]) == list(const["hyperparameters"])
    assert searched == {"hidden", "learning_rate"}
    assert const["hyperparameters"]["hidden"] in adaptive["hyperparameters"]["hidden"]["vals"]
    rate = adaptive["hyperparameters"]["learning_rate"]
    assert 10 ** rate["minval"] <= const["hyperparameters"]["learning_rate"] <= 10 ** rate["maxval"]


def test_the_search_for_a_compression_ends_with_its_trials() -> None:
    adaptive, const = (read(name) for name in COMPRESSIONS)
    searcher = adaptive["searcher"]
    assert (searcher["max_time"], searcher["time_metric"]) == (adaptive["hyperparameters"]["epochs"], "epochs")
    for config in (adaptive, const):
        assert (config["searcher"]["metric"], config["searcher"]["smaller_is_better"]) == ("recall_at_10", False)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_compression_leaves_the_vectors_as_they_are(name: str) -> None:
    config = read(name)
    (mount,) = config["bind_mounts"]
    assert (config["data"]["dir"], mount["read_only"]) == (mount["container_path"], True)
    module = config["entrypoint"].removeprefix("python3 -m ")
    assert f"{module.replace('.', '/')}.py" in NEEDED


SEARCHED = {
    MATCHES: {"measure", "negatives", "margin", "dim", "learning_rate"},
    CAPTIONS: {"embed_size", "hidden_size", "learning_rate"},
}


@pytest.mark.parametrize("files", SEARCHED)
def test_searches_in_words_share_all_but_the_search(files: tuple[str, str]) -> None:
    adaptive, const = (read(name) for name in files)
    assert {key for key in PARTS if adaptive.get(key) != const.get(key)} == {"name", "hyperparameters", "searcher"}
    assert list(adaptive["hyperparameters"]) == list(const["hyperparameters"])
    searched = {key for key, value in adaptive["hyperparameters"].items() if value != const["hyperparameters"][key]}
    assert searched == SEARCHED[files]
    for key in searched:
        space, value = adaptive["hyperparameters"][key], const["hyperparameters"][key]
        if space["type"] == "categorical":
            assert value in space["vals"], key
        else:
            low, high = (10**end if space["type"] == "log" else end for end in (space["minval"], space["maxval"]))
            assert low <= value <= high, key


@pytest.mark.parametrize(("files", "metric"), [(MATCHES, "recall"), (CAPTIONS, "cider_d")])
def test_a_search_in_words_ends_with_its_trials(files: tuple[str, str], metric: str) -> None:
    adaptive, const = (read(name) for name in files)
    searcher = adaptive["searcher"]
    assert (searcher["max_time"], searcher["time_metric"]) == (adaptive["hyperparameters"]["epochs"], "epochs")
    for config in (adaptive, const):
        assert (config["searcher"]["metric"], config["searcher"]["smaller_is_better"]) == (metric, False)
        module = config["entrypoint"].removeprefix("python3 -m ")
        assert f"{module.replace('.', '/')}.py" in NEEDED


# The upload

NEEDED = {"model_def.py", "data.py", "samespace/__init__.py", "samespace/base/photos.py", "startup-hook.sh"}
NEEDED |= {*EXPERIMENTS, "experiments/config.py", "experiments/trial.py", "experiments/local_run.py"}
NEEDED |= {"experiments/embed/embed.py", "experiments/compress/compress.py", "samespace/library/cluster_files.py"}
NEEDED |= {"experiments/captioned.py", "experiments/match/match.py", "samespace/words/matcher.py"}
NEEDED |= {"experiments/caption/caption.py", "samespace/words/captioner.py"}
DECOYS = {"kaggle.json", "secrets/kaggle.json", ".venv/lib/torch.py", "runs/events", "weights.pth", "best.pt"}
DECOYS |= {"model/model.safetensors", "data/Training Data/a.jpg", "checkpoints/1/state_dict", "demo/a.jpg"}
DECOYS |= {"samespace/__pycache__/cli.pyc", "my photos/a.jpg", "pictures.zip"}
DECOYS |= {f"samespace/model/mine/{name}" for name in ("weights-1.safetensors", "network-1.onnx", "a.pth", "a.pt")}
DECOYS |= {"experiments/vectors.npy", "experiments/checkpoints/model/determined/1/code/model_def.py"}
DECOYS |= {"samespace.egg-info/PKG-INFO", ".ruff_cache/x", "tests/x.py", "images/x.png", "benchmarks/x.py"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's files as another person has them, with what piles up in a folder that is worked in."""
    copy = tmp_path / "project"
    listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(listing, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: cannot tell the project's files from others")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    for name in (*DECOYS, "samespace/data/words.txt", "model_def.py", "data.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    return copy


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
def test_the_upload_is_small_and_holds_what_a_trial_needs(project: Path) -> None:
    files = context.read_v1_context(project)
    uploaded = {file.path for file in files}
    assert sum(map(v1file_utils.v1File_size, files)) < constants.MAX_CONTEXT_SIZE
    assert uploaded >= NEEDED
    assert "samespace/data/words.txt" in uploaded, "only the root's data folder is left out"
    assert not uploaded & DECOYS
    assert not [name for name in uploaded if name.startswith((".venv", "data/", "runs"))]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
def test_every_trial_can_be_imported_from_the_upload_alone(project: Path, tmp_path: Path) -> None:
    for file in context.read_v1_context(project):
        source, copy = project / file.path, tmp_path / "upload" / file.path
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    modules = ["model_def", *(f"experiments.{name}.{name}" for name in ("caption", "compress", "embed", "match"))]
    command = [sys.executable, "-c", f"import {', '.join(modules)}"]
    done = subprocess.run(command, cwd=tmp_path / "upload", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
def test_credentials_are_sent_only_by_adding_their_line(project: Path) -> None:
    assert "kaggle.json" not in {file.path for file in context.read_v1_context(project)}
    with (project / ".detignore").open("a") as ignore:
        ignore.write("!/kaggle.json\n")
    assert "kaggle.json" in {file.path for file in context.read_v1_context(project)}


# The startup hook

HOOK = ROOT / "startup-hook.sh"
SECRET = "c0ffee-is-a-secret"
IMAGE_HAS = ["torch==2.3.0a0+40ec155e58", "numpy==1.24.4", "protobuf==3.20.3", "odd===1.0-from-vendor"]
OTHERS_LIBRARIES = ("imagehash", "safetensors", "filelock", "tqdm", "threadpoolctl", "yaml", "matplotlib", "cv2")

# Stands in for the image's python3: modules come from $MODULES alone, and pip writes down what it is asked.
PYTHON = """#!/bin/bash
if [ "$1 $2" != "-m pip" ]; then PYTHONPATH=$MODULES exec {python} -S "$@"; fi
shift 2
printf '%s\\n' "$@" | sed 's/^/pip: /' >>"$CALLS"
if [ "$1" = list ]; then printf '%s\\n' {has}; fi
while [ $# -gt 0 ]; do if [ "$1" = --constraint ]; then sed 's/^/pin: /' "$2" >>"$CALLS"; fi; shift; done
"""


class Container:
    """A folder with a fake python3 in which the hook runs as Determined runs it."""

    def __init__(self, folder: Path) -> None:
        self.work, self.modules, self.home = folder / "work", folder / "modules", folder / "home"
        for made in (self.work, self.modules, self.home, folder / "bin"):
            made.mkdir()
        python = folder / "bin" / "python3"
        python.write_text(PYTHON.format(python=sys.executable, has=" ".join(IMAGE_HAS)))
        python.chmod(0o755)
        self.calls = folder / "calls"
        self.calls.touch()
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "TMPDIR": str(folder),
            "MODULES": str(self.modules),
            "CALLS": str(self.calls),
            "SAMESPACE_WHEELS": str(folder / "wheels"),
        }

    def has(self, *modules: str) -> None:
        for module in modules:
            (self.modules / f"{module}.py").write_text("raise ImportError('looked for, never imported')")

    def bash(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", script]
        return subprocess.run(command, cwd=self.work, env=self.environment, capture_output=True, text=True, check=check)

    def run(self) -> str:
        """What the hook prints, trace included."""
        run = self.bash(f"set -ex; test -f {HOOK} && source {HOOK}")
        return run.stdout + run.stderr

    def asked(self, kind: str = "pip") -> list[str]:
        return [line[5:] for line in self.calls.read_text().splitlines() if line.startswith(kind + ": ")]


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_the_hook_is_short_and_plain() -> None:
    subprocess.run(["bash", "-n", HOOK], check=True)
    lines = HOOK.read_text().splitlines()
    assert len(lines) <= 30
    words = {word for line in lines for word in line.split()}
    assert not words & {"cd", "exit", "export", "env", "printenv", "apt-get", "sudo"}


def test_the_hook_installs_what_is_lacking_beside_what_the_image_has(container: Container) -> None:
    container.has("tqdm", "yaml")
    container.run()
    asked = container.asked()
    assert [word for word in asked[2:] if not word.startswith(("--", "/"))] == [
        "install", "ImageHash>=4.3", "safetensors>=0.4", "filelock", "threadpoolctl>=3", "matplotlib",
        "opencv-python-headless>=4.8",
    ]  # fmt: skip
    assert container.asked("pin") == IMAGE_HAS[:3], "pip reads no `===`"


def test_the_hook_never_asks_for_what_belongs_to_the_image(container: Container) -> None:
    container.run()
    names = {word.split(">")[0].lower() for word in container.asked()}
    assert not names & {"torch", "torchvision", "numpy", "pillow", "protobuf", "tensorboard", "requests", "determined"}


def test_where_nothing_is_lacking_the_hook_calls_no_pip_and_leaves_the_log_quiet(container: Container) -> None:
    container.has(*OTHERS_LIBRARIES)
    printed = container.run()
    assert container.asked() == []
    assert printed.splitlines() == [f"+ test -f {HOOK}", f"+ source {HOOK}"]  # which are Determined's own


def test_the_hook_says_in_one_line_what_it_installs(container: Container) -> None:
    container.has(*OTHERS_LIBRARIES[1:])
    assert "installing what the image lacks: ImageHash>=4.3" in container.run().splitlines()


def test_without_network_the_hook_installs_from_wheels(container: Container) -> None:
    wheels = Path(container.environment["SAMESPACE_WHEELS"])
    container.run()
    assert "--no-index" not in container.asked()
    wheels.mkdir()
    container.run()
    asked = container.asked()
    assert asked[asked.index("--no-index") + 1 :][:2] == ["--find-links", str(wheels)]


@pytest.mark.parametrize("place", ["work", "home", "environment"])
def test_the_hook_gets_kaggle_for_those_who_can_sign_in_and_prints_no_secret(container: Container, place: str) -> None:
    container.has(*OTHERS_LIBRARIES)
    if place == "environment":
        container.environment["KAGGLE_KEY"] = SECRET
    else:
        login = container.work / "kaggle.json" if place == "work" else container.home / ".kaggle" / "kaggle.json"
        login.parent.mkdir(exist_ok=True)
        login.write_text(json.dumps({"username": "me", "key": SECRET}))
    printed = container.run()
    assert container.asked()[-1] == "kaggle>=1.6,<1.8"
    assert SECRET not in printed + container.calls.read_text()


def test_the_hook_leaves_the_shell_as_it_was(container: Container) -> None:
    state = "{ compgen -v; compgen -e | sed s/^/exported-/; compgen -A function; pwd; echo $-; }"
    ask = f"{state} | grep -vx -e BASH_LINENO -e PIPESTATUS"
    run = container.bash(f"set -e; {ask} >before; source {HOOK}; {ask} >after; echo alive")
    assert run.stdout.endswith("alive\n")
    assert (container.work / "after").read_text() == (container.work / "before").read_text()


def test_an_install_that_fails_ends_the_trial_there(container: Container) -> None:
    python = Path(container.environment["PATH"].split(":")[0], "python3")
    python.write_text(python.read_text() + "exit 1\n")
    run = container.bash(f"set -ex; source {HOOK}; echo trained", check=False)
    assert run.returncode != 0
    assert "trained" not in run.stdout
