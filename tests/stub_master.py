"""Runs a training script as if on a Determined 0.38.1 cluster, against a master that lives in this process.

`with StubMaster(store, config=...) as master: model_def.main([])`, then look at what `master` was told. After that,
`with master.reachable():` Determined's client finds the experiment there, and its checkpoints.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
import shutil
import tarfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import parse_qsl

import determined
from determined import _info, constants
from determined.common import api
from determined.common import constants as paths
from determined.core import _metrics, _preempt

Json = dict[str, Any]
SEARCHER: Json = {"name": "single", "metric": "validation_loss", "smaller_is_better": True}
EXPERIMENT = 1
LOGIN = {"DET_USER": "user", "DET_PASS": "Passw0rd"}  # strong, or the client complains of it
LONG_AGO = "2026-01-01T00:00:00Z"


class Request(NamedTuple):
    """What the trial asked of the master; its waiting for a stop signal is not listed."""

    method: str
    path: str
    body: Json
    token: str = ""


class Checkpoint(NamedTuple):
    """A checkpoint the trial reported, or a test registered, and the folder it lies in."""

    uuid: str
    metadata: Json
    path: Path
    trial_id: int = 1
    metrics: Json | None = None  # of its validation, unless the trial has reported one
    state: str = "COMPLETED"


class StubMaster:
    """A `with` block inside which Determined believes that it runs trial `trial_id` of an experiment.

    `config` is the experiment's YAML; hyperparameters that it searches must be named in `hparams`, which win.
    After the validation of `stop_after_epoch` the trial is told to stop, which to a trial is the same as a pause:
    to resume, enter a second stub on the same `store` with `latest_checkpoint=first.checkpoints[-1].uuid`.
    `context` is the folder copied into every checkpoint as `code/`: an empty one, unless given.
    Of several `slots` each is a process of its own: fork them inside the block, with torchrun's variables set.
    """

    def __init__(
        self,
        store: Path,
        hparams: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        stop_after_epoch: float | None = None,
        latest_checkpoint: str | None = None,
        trial_id: int = 1,
        steps: int | None = None,
        context: Path | None = None,
        gpu_uuids: Sequence[str] = (),
        slots: int = 1,
    ) -> None:
        self.store = store.resolve()
        self.config = _as_the_master_fills_it(config or {}, self.store)
        self.hparams = _choose(self.config["hyperparameters"], hparams or {})
        self.stop_after_epoch = stop_after_epoch
        self.latest_checkpoint = latest_checkpoint
        self.trial_id = trial_id
        self.steps = self._steps_of(latest_checkpoint) if steps is None else steps
        self.context = context or self.store / "context"
        self.gpu_uuids = list(gpu_uuids)
        self.slots = slots
        self.allocation_id = f"stub-{uuid.uuid4()}"
        self.requests: list[Request] = []
        self.training_metrics: list[Json] = []
        self.validation_metrics: list[Json] = []
        self.checkpoints: list[Checkpoint] = []
        self.early_exit: str | None = None
        self.state = "COMPLETED"  # what a client is told of the experiment and its trials
        self.sent: int | None = None  # how much of a download, all unless a test cuts it short
        self.stopped = threading.Event()
        self._run_is_over = threading.Event()
        self._answer_polls = threading.Event()
        self._undo = ExitStack()

    def _steps_of(self, checkpoint: str | None) -> int:
        if checkpoint is None:
            return 0
        metadata = json.loads((self.store / checkpoint / "metadata.json").read_text())
        return int(metadata["steps_completed"])

    def __enter__(self) -> StubMaster:
        self.context.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            url = self._serve(undo)
            undo.enter_context(patch.dict(os.environ, self._environment()))
            undo.enter_context(patch.object(_info, "_info", self._cluster_info(url)))
            undo.enter_context(patch.object(constants, "MANAGED_TRAINING_MODEL_COPY", str(self.context)))
            undo.enter_context(patch.object(paths, "SHARED_FS_CONTAINER_PATH", str(self.store)))
            self._make_stops_prompt(undo)
            for slot in range(self.slots):
                undo.callback(shutil.rmtree, self._tensorboard_folder(slot), ignore_errors=True)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    @contextmanager
    def reachable(self) -> Iterator[str]:
        """A `with` block in which this master's address and a login are in the environment, as for `det`."""
        with ExitStack() as undo:
            url = self._serve(undo)
            undo.enter_context(patch.dict(os.environ, {"DET_MASTER": url, **LOGIN}))
            yield url

    def register(
        self,
        files: Mapping[str, bytes],
        metrics: Json | None = None,
        trial_id: int | None = None,
        metadata: Json | None = None,
    ) -> Checkpoint:
        """Add a checkpoint of these files, as if a trial had reported it."""
        name = str(uuid.uuid4())
        metadata = {"steps_completed": 0} | (metadata or {})
        checkpoint = Checkpoint(name, metadata, self.store / name, trial_id or self.trial_id, metrics)
        for file, content in {**files, "metadata.json": json.dumps(metadata).encode()}.items():
            path = checkpoint.path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.checkpoints.append(checkpoint)
        return checkpoint

    def delete(self, deleted: Checkpoint) -> None:
        """As `det checkpoint rm` does: the files go, and the master remembers that there were some."""
        shutil.rmtree(deleted.path)
        self.checkpoints[self.checkpoints.index(deleted)] = deleted._replace(state="DELETED")

    def _serve(self, undo: ExitStack) -> str:
        others = set(threading.enumerate())
        server = _Server(("127.0.0.1", 0), _Handler)
        server.master = self
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="StubMaster")
        thread.start()
        undo.callback(thread.join)
        undo.callback(server.server_close)
        undo.callback(server.shutdown)
        undo.callback(lambda: _end_trial_threads(set(threading.enumerate()) - others - {thread}))
        undo.callback(self._answer_polls.set)
        undo.callback(self._run_is_over.set)
        return f"http://127.0.0.1:{server.server_port}"

    def _environment(self) -> dict[str, str]:
        return {
            "DET_SESSION_TOKEN": "token",
            "DET_USER_TOKEN": "token",
            "DET_USER": "user",
            "DET_ALLOCATION_ID": self.allocation_id,
            "DET_RETRY_CONFIG": '{"total": 0}',  # a mistake of the stub's shows at once, not after 20 tries
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def _tensorboard_folder(self, slot: int) -> Path:
        return Path("/tmp", f"tensorboard-{self.allocation_id}-{slot}")  # Determined's choice, not ours

    def _cluster_info(self, url: str) -> determined.ClusterInfo:
        trial = _info.TrialInfo(
            trial_id=self.trial_id,
            experiment_id=1,
            trial_seed=42,
            hparams=copy.deepcopy(self.hparams),
            config=copy.deepcopy(self.config),
            steps_completed=self.steps,
            trial_run_id=1,
            debug=False,
            inter_node_network_interface=None,
        )
        return determined.ClusterInfo(
            master_url=url,
            cluster_id="cluster",
            agent_id="agent",
            slot_ids=list(range(self.slots)),
            task_id=f"{self.trial_id}.task",
            allocation_id=self.allocation_id,
            session_token="token",
            task_type="TRIAL",
            latest_checkpoint=self.latest_checkpoint,
            trial_info=trial,
            rendezvous_info=_info.RendezvousInfo(["127.0.0.1"], 0, [1]),
            resources_info=_info.ResourcesInfo(self.gpu_uuids),
        )

    def _make_stops_prompt(self, undo: ExitStack) -> None:
        """A stop takes effect at the boundary that caused it.

        A real trial reports metrics and hears of a stop in threads, so it may train a boundary further: no ground
        for a test to stand on. Here a report is sent at once, and a stop that was decided is waited for.
        """
        hears = _preempt._PreemptionWatcher.should_preempt

        def report_now(shipper: _metrics._Shipper, **report: Any) -> None:
            shipper._post_metrics(**report)

        def hear_now(watcher: _preempt._PreemptionWatcher) -> bool:
            if self.stopped.is_set():
                watcher.join(timeout=5)  # it ends when it has heard
            return bool(hears(watcher))

        undo.enter_context(patch.object(_metrics._Shipper, "publish_metrics", report_now))
        undo.enter_context(patch.object(_preempt._PreemptionWatcher, "should_preempt", hear_now))

    def answer(self, request: Request) -> tuple[int, Json | bytes]:
        """Status and body for one request: the endpoints that a trial or a client reads from, `{}` for the rest."""
        path = request.path
        if path.endswith("/signals/preemption"):
            return 200, {"preempt": self._wait_for_stop(request.body)}
        self.requests.append(request)
        if path.endswith("/metrics"):
            self._take_metrics(request.body)
        elif path.endswith("/early_exit"):
            self.early_exit = request.body["reason"]
        elif path == "/api/v1/checkpoints":
            name = request.body["uuid"]
            self.checkpoints.append(Checkpoint(name, request.body["metadata"], self.store / name, self.trial_id))
        elif path.endswith("/best_searcher_validation_metric"):
            best = self.best_validation()
            return (404, {"message": "no validations yet"}) if best is None else (200, {"metric": best})
        elif path == "/api/v1/runs/start":
            return 200, {"storageId": 1}
        elif path == "/info":
            return 200, {"cluster_id": "cluster", "version": determined.__version__}
        elif path == "/api/v1/auth/login":
            known = {"username": LOGIN["DET_USER"], "password": api.salt_and_hash(LOGIN["DET_PASS"]), "isHashed": True}
            user = {"username": LOGIN["DET_USER"], "active": True, "admin": False}
            return (200, {"token": "token", "user": user}) if request.body == known else (403, {})
        elif request.method == "GET" and path.startswith(("/api/v1/", "/checkpoints/")):
            return self._answer_client(request)
        return 200, {}

    def _answer_client(self, request: Request) -> tuple[int, Json | bytes]:
        """What there is, to whoever has logged in; a trial, which has not, also asks for itself."""
        known = {each.uuid: each for each in self.checkpoints}
        trials = {self.trial_id, *(each.trial_id for each in self.checkpoints)}
        match request.path.removeprefix("/api/v1").split("/")[1:]:
            case ["trials", number] if number.isdecimal() and int(number) in trials:
                return 200, {"trial": self._trial(int(number))}
            case _ if request.token != "Bearer token":
                return 401, {}
            case ["me"]:
                return 200, {}
            case ["experiments", number] if number == str(EXPERIMENT):
                return 200, {"experiment": self._experiment()}
            case ["experiments", number, "checkpoints"] if number == str(EXPERIMENT):
                return 200, self._list(self.checkpoints, request.body)
            case ["trials", number, "checkpoints"] if number.isdecimal() and int(number) in trials:
                return 200, self._list([each for each in known.values() if each.trial_id == int(number)], request.body)
            case ["checkpoints", name] if name in known:
                downloads = not request.path.startswith("/api")
                return 200, packed(known[name].path) if downloads else {"checkpoint": self._checkpoint(known[name])}
        return 404, {}

    def _experiment(self) -> Json:
        names = {"name": "experiment", "jobId": "job", "username": LOGIN["DET_USER"], "searcherType": "single"}
        numbers = {"id": EXPERIMENT, "numTrials": 1, "projectId": 1, "projectOwnerId": 1}
        state = {"state": f"STATE_{self.state}", "archived": False, "startTime": LONG_AGO}
        return {**names, **numbers, **state, "config": self.config, "originalConfig": ""}

    def _trial(self, number: int) -> Json:
        numbers = {"id": number, "experimentId": EXPERIMENT, "restarts": 0, "totalBatchesProcessed": 0}
        return {**numbers, "state": f"STATE_{self.state}", "startTime": LONG_AGO, "hparams": self.hparams}

    def _checkpoint(self, checkpoint: Checkpoint) -> Json:
        training = {"experimentId": EXPERIMENT, "trialId": checkpoint.trial_id, "hparams": self.hparams}
        training |= {"experimentConfig": self.config, "searcherMetric": self._searched(checkpoint)}
        training["validationMetrics"] = {"avgMetrics": self._metrics_of(checkpoint)}
        files = [path for path in checkpoint.path.rglob("*") if path.is_file()]
        return {
            "uuid": checkpoint.uuid,
            "state": f"STATE_{checkpoint.state}",
            "metadata": checkpoint.metadata,
            "resources": {path.relative_to(checkpoint.path).as_posix(): str(path.stat().st_size) for path in files},
            "training": training,
        }

    def _metrics_of(self, checkpoint: Checkpoint) -> Json | None:
        """What was reported of the network as it was then."""
        steps = checkpoint.metadata["steps_completed"]
        reported = [metrics for metrics in self.validation_metrics if metrics["batches"] == steps]
        return reported[0] if reported and checkpoint.trial_id == self.trial_id else checkpoint.metrics

    def _searched(self, checkpoint: Checkpoint) -> float | None:
        value: float | None = (self._metrics_of(checkpoint) or {}).get(self.config["searcher"]["metric"])
        return value

    def _list(self, checkpoints: Sequence[Checkpoint], query: Json) -> Json:
        """Those in one of the states, the better first and those without the metric last; or the newest first."""
        found = [each for each in checkpoints if f"STATE_{each.state}" in query["states"].split()]
        if query["sortByAttr"] == "SORT_BY_SEARCHER_METRIC":
            sign = 1 if self.config["searcher"]["smaller_is_better"] else -1
            values = {each.uuid: self._searched(each) for each in found}
            found.sort(key=lambda each: math.inf if values[each.uuid] is None else sign * values[each.uuid])
        else:
            assert (query["sortByAttr"], query["orderBy"]) == ("SORT_BY_END_TIME", "ORDER_BY_DESC")
            found.reverse()
        found = found[: int(query["limit"])]
        return {"checkpoints": [self._checkpoint(each) for each in found], "pagination": {}}

    def _wait_for_stop(self, query: Json) -> bool:
        self._answer_polls.wait(float(query["timeout_seconds"]))
        return self.stopped.is_set() or self._run_is_over.is_set()

    def _take_metrics(self, body: Json) -> None:
        metrics = body["metrics"]["metrics"]["avgMetrics"]
        if body["group"] == "training":
            self.training_metrics.append(metrics)
        elif body["group"] == "validation":
            self.validation_metrics.append(metrics)
            if self.stop_after_epoch is not None and metrics["epochs"] >= self.stop_after_epoch:
                self.stop()

    def stop(self) -> None:
        """Tell the trial to stop; said before it starts, it stops at its first boundary."""
        self.stopped.set()
        self._answer_polls.set()

    def best_validation(self) -> float | None:
        """The best searcher metric so far; one that is not finite arrives as a string and does not count."""
        searcher = self.config["searcher"]
        values = [metrics.get(searcher["metric"]) for metrics in self.validation_metrics]
        numbers = [value for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
        if not numbers:
            return None
        return min(numbers) if searcher["smaller_is_better"] else max(numbers)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for the answers under way
    master: StubMaster


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0, the default: every answer closes its connection, so no thread is left waiting for the next request.
    server: _Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body: Json = {}
        for name, value in parse_qsl(query):
            body[name] = f"{body[name]} {value}" if name in body else value  # a list names its name for each
        self._send(Request("GET", path, body, self.headers.get("Authorization") or ""))

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._send(Request("POST", self.path, json.loads(text) if text else {}))

    def _send(self, request: Request) -> None:
        status, answer = self.server.master.answer(request)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.master.sent] if isinstance(answer, bytes) else body)

    def log_message(self, *args: object) -> None:
        """Quiet: pytest shows what matters."""


def packed(folder: Path) -> bytes:
    """A checkpoint as the master sends it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, path.relative_to(folder).as_posix(), recursive=False)
    return content.getvalue()


def _as_the_master_fills_it(config: Mapping[str, Any], store: Path) -> Json:
    filled = copy.deepcopy(dict(config))
    filled.setdefault("hyperparameters", {})
    filled["searcher"] = SEARCHER | filled.get("searcher", {})
    storage = filled.setdefault("checkpoint_storage", {})
    kind = storage.setdefault("type", "shared_fs")
    storage["container_path" if kind == "directory" else "host_path"] = str(store)
    return filled


def _choose(hyperparameters: Mapping[str, Any], chosen: Mapping[str, Any]) -> Json:
    values = {**hyperparameters, **chosen}
    searched = [name for name, value in values.items() if isinstance(value, dict) and "type" in value]
    if searched:
        raise ValueError(f"the searcher chooses {', '.join(searched)}: give a value for each in hparams")
    return values


def _end_trial_threads(threads: set[threading.Thread]) -> None:
    """Determined leaves two kinds running: the one that waits for a stop, and TensorBoard's, which it never closes."""
    for thread in threads:
        if isinstance(thread, _preempt._PreemptionWatcher):
            thread.join(timeout=5)
        elif type(thread).__name__ == "_AsyncWriterThread":
            thread.stop()  # type: ignore[attr-defined]
