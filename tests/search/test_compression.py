"""Vectors made shorter: what stays near, what comes back from disk, and which way is chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from samespace.base.arrays import unit
from samespace.base.errors import SameSpaceError
from samespace.base.sealed import digest
from samespace.search import autoencoder, choose_compression
from samespace.search.choose_compression import Row, compare, recall
from samespace.search.compression import Compression, fit_pca, main_directions


def made(count: int, dim: int = 96, kept: int = 12, noise: float = 0.01, seed: int = 0) -> np.ndarray:
    """Vectors about a mean, most of whose differences lie along a few directions, as a backbone's do."""
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((kept, dim)) * np.linspace(1, 0.2, kept)[:, None]
    vectors = 3 + random.standard_normal((count, kept)) @ directions + noise * random.standard_normal((count, dim))
    return vectors.astype(np.float16)


def curved(count: int, dim: int = 64, seed: int = 0) -> np.ndarray:
    """Vectors on a closed curve of few parameters that bends through many directions: no plane holds them."""
    random = np.random.default_rng(seed)
    angles = random.uniform(0, 2 * np.pi, (count, 1)) * np.arange(1, dim // 2 + 1)
    return np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


@pytest.fixture(scope="module")
def pca() -> Compression:
    return fit_pca(made(200), 12)


@pytest.fixture(scope="module")
def encoder() -> Compression:
    return autoencoder.train(made(300), 12, epochs=5, hidden=32)


@pytest.fixture(params=["pca", "encoder"])
def compression(request: pytest.FixtureRequest) -> Compression:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Compression)
    return found


# What comes out


def test_vectors_of_any_length_become_short_ones_of_length_1(compression: Compression) -> None:
    vectors = made(30, seed=1).astype(np.float32)
    found = compression(vectors)
    assert (found.shape, found.dtype) == ((30, 12), np.float32)
    assert (compression.dim_in, compression.dim) == (96, 12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(compression(vectors * 7), found, atol=1e-5)
    assert compression(vectors[:0]).shape == (0, 12)


def test_a_vectors_code_does_not_depend_on_its_company(
    compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = made(30, seed=1)
    whole = compression(vectors)
    monkeypatch.setattr("samespace.search.compression.BLOCK", 7)
    np.testing.assert_allclose(compression(vectors), whole, atol=1e-6)


def test_zeros_have_some_direction(compression: Compression) -> None:
    found = compression(np.zeros((2, 96), np.float16))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


# Main directions: at right angles, the widest first, and the same at every run


def drawn(count: int, size: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, size)) / np.arange(1, size + 1)
    return rows.astype(np.float32)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 9))
def test_they_turn_space_and_part_it_by_what_vectors_do_there(count: int, size: int, seed: int) -> None:
    given = drawn(count, size, seed)
    spread, axes = main_directions(given)
    assert axes.T @ axes == pytest.approx(np.eye(size), abs=1e-9)
    assert (np.diff(spread) <= 1e-12).all()
    along = given / np.linalg.norm(given, axis=1, keepdims=True) @ axes
    assert along.T @ along / count == pytest.approx(np.diag(spread), abs=1e-5)


def test_the_length_of_a_vector_does_not_count() -> None:
    given = drawn(40, 5)
    longer = given * np.random.default_rng(1).uniform(0.5, 90, (40, 1)).astype(np.float32)
    for one, other in zip(main_directions(given), main_directions(longer), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_their_order_and_the_blocks_they_come_in_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(500, 6)
    spread, axes = main_directions(given)
    monkeypatch.setattr("samespace.search.compression.BLOCK", 7)
    again, turned = main_directions(given[::-1])
    assert again == pytest.approx(spread, abs=1e-9)
    assert turned == pytest.approx(axes, abs=1e-6)  # with their signs


def test_no_vectors_have_some_directions_too() -> None:
    spread, axes = main_directions(np.empty((0, 3), np.float32))
    assert spread.tolist() == [0, 0, 0]
    assert np.abs(axes).sum() == pytest.approx(3)


# PCA


@settings(max_examples=25)
@given(st.integers(2, 60), st.integers(2, 40), st.integers(1, 50), st.floats(0, 1))
def test_pca_keeps_as_many_components_as_there_are(count: int, dim_in: int, dim: int, whitening: float) -> None:
    vectors = np.random.default_rng(count).standard_normal((count, dim_in))
    found = fit_pca(vectors, dim, whitening)
    assert (found.dim_in, found.dim) == (dim_in, min(count, dim_in, dim))
    assert np.isfinite(found(vectors)).all()


def test_all_of_the_components_keep_every_cosine() -> None:
    vectors = made(200, dim=20, noise=0.5)
    kept, before = fit_pca(vectors, 20, whitening=0)(vectors), unit(vectors.astype(np.float32))
    np.testing.assert_allclose(kept @ kept.T, before @ before.T, atol=1e-5)


@pytest.mark.parametrize(("whitening", "power"), [(0, 1), (0.5, 0.5), (1, 0)])
def test_whitening_divides_components_by_a_power_of_their_spread(whitening: float, power: float) -> None:
    vectors = unit(made(500, dim=20, noise=0.5).astype(np.float32))
    (weight, bias), spread = fit_pca(vectors, 20, whitening).layers[0], fit_pca(vectors, 20, 0).layers[0][0]
    before, after = (np.square(vectors @ matrix.T).mean(0) for matrix in (spread, weight))
    np.testing.assert_allclose(after, before**power, rtol=1e-2)
    assert not bias.any()


def test_pca_does_not_depend_on_order_on_blocks_or_on_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, probe = made(300).astype(np.float64), made(50, seed=2)
    whole = fit_pca(vectors, 12)(probe)
    assert fit_pca(vectors, 12).fingerprint == fit_pca(vectors.copy(), 12).fingerprint
    monkeypatch.setattr("samespace.search.compression.BLOCK", 64)
    lengths = np.random.default_rng(0).uniform(0.5, 9, (300, 1))
    np.testing.assert_allclose(fit_pca((vectors * lengths)[::-1], 12)(probe), whole, atol=1e-3)


def test_each_component_points_one_way() -> None:
    """Which one a solver leaves open: other libraries of linear algebra would give other signs."""
    (weight, _) = fit_pca(made(200), 12).layers[0]
    assert (weight[np.arange(12), np.abs(weight).argmax(1)] > 0).all()


def test_whitening_lets_rare_differences_count() -> None:
    """Two kinds of photos differ along a short axis only, which long axes that say nothing hide."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 2, 400)
    vectors = np.column_stack([random.standard_normal((400, 8)), 0.6 * kinds - 0.3, np.full(400, 4.0)])
    found = {power: fit_pca(vectors, 10, power)(vectors) for power in (0, 1)}
    right = {power: (kinds[_nearest(rows)] == kinds).mean() for power, rows in found.items()}
    assert right[1] > right[0] + 0.1


def _nearest(rows: np.ndarray) -> np.ndarray:
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    return cosines.argmax(1)


# The autoencoder


def test_the_same_vectors_train_the_same_encoder(encoder: Compression) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = autoencoder.train(made(300), 12, epochs=5, hidden=32)
    assert again.fingerprint == encoder.fingerprint
    assert torch.get_rng_state().equal(state), "training takes no random numbers from others"


def test_training_keeps_neighbours_that_chance_does_not() -> None:
    vectors, others = made(600, seed=3), made(300, seed=4)
    begun, trained = (autoencoder.train(vectors, 12, epochs, hidden=64) for epochs in (1, 25))
    assert recall(trained, others) > recall(begun, others) + 0.05


def test_training_ends_where_nothing_is_gained_and_gives_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [5.0, 3.0, 4.0, 4.0, 4.0, 1.0]
    said = iter(losses)
    kept: list[dict[str, torch.Tensor]] = []

    def validation_loss(network: autoencoder.Autoencoder, held: torch.Tensor) -> float:
        assert len(held) == 10
        kept.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(said)

    monkeypatch.setattr(autoencoder, "PATIENCE", 3)
    monkeypatch.setattr(autoencoder, "validation_loss", validation_loss)
    found = autoencoder.train(made(100), 12, epochs=50, hidden=16)
    assert len(kept) == 5
    np.testing.assert_array_equal(found.layers[1][1], kept[1]["encoder.2.bias"])


def test_steps_shorten_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[torch.optim.Adam] = []
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *given: used.append(adam(*given)) or used[-1])
    autoencoder.train(made(100), 12, epochs=4, hidden=16, learning_rate=0.01)
    (group,) = used[0].param_groups
    assert (group["initial_lr"], group["lr"]) == (0.01, pytest.approx(0))


def test_vectors_are_brought_to_scale() -> None:
    vectors = autoencoder.to_tensor(made(50))
    network = autoencoder.Autoencoder(96, 12, 16)
    network.fit_scale(vectors)
    scaled = (vectors - network.mean) / network.spread
    torch.testing.assert_close(scaled.mean(0), torch.zeros(96), atol=1e-4, rtol=0)
    assert float(scaled.square().mean()) == pytest.approx(1, abs=1e-4)


def test_nobody_is_near_itself() -> None:
    found = autoencoder.log_nearness(torch.eye(9)).exp()
    torch.testing.assert_close(found.diagonal(), torch.zeros(9))
    torch.testing.assert_close(found.sum(1), torch.ones(9))


def test_the_loss_of_many_is_the_mean_over_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = autoencoder.to_tensor(made(10, noise=1))
    network = autoencoder.Autoencoder(96, 12, 16)
    monkeypatch.setattr(autoencoder, "BATCH", 4)
    with torch.no_grad():
        losses = [float(autoencoder.loss_of(rows, *network(rows))) for rows in vectors.split([4, 3, 3])]
    expected = (4 * losses[0] + 3 * losses[1] + 3 * losses[2]) / 10
    assert autoencoder.validation_loss(network, vectors) == pytest.approx(expected, abs=1e-5)


def test_the_encoder_says_what_the_network_keeps() -> None:
    vectors = autoencoder.to_tensor(made(50))
    network = autoencoder.Autoencoder(96, 12, 16)
    network.fit_scale(vectors)
    with torch.no_grad():
        kept, back = network(vectors)
    assert back.shape == vectors.shape
    expected = torch.nn.functional.normalize(kept).numpy()
    np.testing.assert_allclose(network.compression()(vectors.numpy()), expected, atol=1e-5)


def test_the_loss_falls_with_what_comes_back_and_with_who_stays_near() -> None:
    vectors = autoencoder.to_tensor(made(40, noise=1))
    elsewhere = vectors.roll(1, 0)
    whole = autoencoder.loss_of(vectors, vectors, vectors)
    assert autoencoder.loss_of(vectors, vectors, elsewhere) > whole
    assert autoencoder.loss_of(vectors, elsewhere, vectors) > whole
    assert autoencoder.loss_of(vectors, vectors * 5, vectors * 2) == pytest.approx(float(whole), abs=1e-4)


def test_rows_are_held_out_the_same_way_each_time() -> None:
    learnt, held = autoencoder.split(70)
    assert (len(learnt), len(held)) == (63, 7)
    assert sorted([*learnt.tolist(), *held.tolist()]) == list(range(70))
    assert autoencoder.split(70)[1].equal(held)


# Which one


def test_neighbours_that_stay_are_counted() -> None:
    vectors = np.eye(40, dtype=np.float32) + 0.5 * np.random.default_rng(0).random((40, 40)).astype(np.float32)
    everything, none = np.eye(40, dtype=np.float32), np.zeros(40, np.float32)
    assert recall(Compression("pca", [(everything, none)]), vectors) == 1
    half = Compression("pca", [(everything[:20], none[:20])])
    kept, before = half(vectors), unit(vectors)
    expected = [len(set(one) & set(other)) / 10 for one, other in zip(_ten(kept), _ten(before), strict=True)]
    assert recall(half, vectors) == pytest.approx(np.mean(expected), abs=0.01)
    assert 0 < np.mean(expected) < 1


def _ten(rows: np.ndarray) -> list[list[int]]:
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    return [list(np.argsort(-row)[:10]) for row in cosines]


def test_nothing_that_was_learnt_from_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[np.ndarray] = []
    measured: list[np.ndarray] = []

    def learn(rows: np.ndarray, dim: int, *others: float) -> Compression:
        learnt.append(rows)
        return fit_pca(rows, dim)

    def counted(compression: Compression, rows: np.ndarray) -> float:
        measured.append(rows)
        return 0.5

    monkeypatch.setattr(choose_compression, "fit_pca", learn)
    monkeypatch.setattr(autoencoder, "train", learn)
    monkeypatch.setattr(choose_compression, "recall", counted)
    compare(made(101), dim=8)
    halves, last = [{row.tobytes() for row in rows} for rows in (*learnt[:3], *measured)], learnt[3]
    assert [len(half) for half in halves] == [51, 51, 51, 50, 50, 50]
    assert halves[0] == halves[1] == halves[2]
    assert halves[3] == halves[4] == halves[5]
    assert not halves[0] & halves[3]
    assert len(last) == 101


def test_plain_vectors_are_left_to_pca(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder.train, "__defaults__", (8, 32, 0.001, 64))
    vectors = made(240)
    rows, chosen = compare(vectors, dim=12)
    assert [row[:3] for row in rows] == [
        ("none", 96, 192),
        ("pca", 12, 24),
        ("pca whitened", 12, 24),
        ("autoencoder", 12, 24),
    ]
    none, pca, whitened, encoder = (row.recall for row in rows)
    assert none == 1
    assert pca > whitened > encoder
    assert chosen.fingerprint == fit_pca(vectors[np.sort(np.random.default_rng(0).permutation(240))], 12).fingerprint


def test_curved_ones_are_left_to_the_autoencoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder.train, "__defaults__", (25, 64, 0.005, 64))
    rows, chosen = compare(curved(500), dim=4)
    assert rows[3].recall > rows[1].recall
    assert chosen.method == "autoencoder"


@pytest.mark.parametrize(
    ("whitened", "encoder", "chosen"), [(0.4, 0.5, "pca"), (0.6, 0.5, "pca"), (0.4, 0.51, "autoencoder")]
)
def test_by_what_is_kept_the_autoencoder_must_beat_pca(
    monkeypatch: pytest.MonkeyPatch, whitened: float, encoder: float, chosen: str
) -> None:
    recalls = iter([0.5, whitened, encoder])
    monkeypatch.setattr(autoencoder, "train", lambda rows, dim: Compression("autoencoder", fit_pca(rows, dim).layers))
    monkeypatch.setattr(choose_compression, "recall", lambda compression, rows: next(recalls))
    rows, best = compare(made(60), dim=8)
    assert (best.method, [row.recall for row in rows]) == (chosen, [1.0, 0.5, whitened, encoder])


@pytest.mark.parametrize(
    ("method", "tried"), [("pca", ["none", "pca", "pca whitened"]), ("autoencoder", ["none", "autoencoder"])]
)
def test_a_way_asked_for_is_the_only_one_tried(monkeypatch: pytest.MonkeyPatch, method: str, tried: list[str]) -> None:
    monkeypatch.setattr(autoencoder.train, "__defaults__", (1, 8, 0.001, 64))
    rows, chosen = compare(made(80), method, 8)
    assert [row.method for row in rows] == tried
    assert chosen.method == method


def test_a_large_library_is_learnt_from_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def learn(rows: np.ndarray, dim: int, *others: float) -> Compression:
        sizes.append(len(rows))
        return fit_pca(rows, dim)

    monkeypatch.setattr(choose_compression, "SAMPLE", 30)
    monkeypatch.setattr(choose_compression, "QUERIES", 5)
    monkeypatch.setattr(choose_compression, "fit_pca", learn)
    assert isinstance(compare(made(100), "pca", 8).rows[1], Row)
    assert sizes == [30, 30, 30]


@pytest.mark.parametrize(
    ("vectors", "method", "told"),
    [
        (made(59), "auto", "59 photos are too few to learn from: scan at least 60"),
        (made(80), "tsne", "unknown method 'tsne': choose one of none, pca, autoencoder and auto"),
        (made(80, dim=12), "auto", "vectors of 12 numbers need no compression to 12: keep them as they are"),
    ],
)
def test_what_cannot_be_compressed_is_refused(vectors: np.ndarray, method: str, told: str) -> None:
    with pytest.raises(SameSpaceError) as error:
        compare(vectors, method, 12)
    assert str(error.value) == told


# On disk


def test_what_was_saved_comes_back(compression: Compression, tmp_path: Path) -> None:
    compression.save(tmp_path / "new" / "file")
    found = Compression.load(tmp_path / "new" / "file")
    assert (found.method, found.fingerprint) == (compression.method, compression.fingerprint)
    np.testing.assert_array_equal(found(made(9)), compression(made(9)))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_other_numbers_have_another_fingerprint(pca: Compression) -> None:
    (weight, bias) = pca.layers[0]
    others = [("pca", weight, bias + 1), ("pca", weight[::-1], bias), ("autoencoder", weight, bias)]
    assert len({pca.fingerprint, *(Compression(how, [(w, b)]).fingerprint for how, w, b in others)}) == 4
    assert len(pca.fingerprint) == 16


@pytest.fixture(scope="module")
def whole(encoder: Compression, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("whole") / "file"
    encoder.save(path)
    yield path


@settings(max_examples=150)
@given(st.data())
def test_a_changed_bit_is_noticed_or_changes_nothing(whole: Path, encoder: Compression, data: st.DataObject) -> None:
    before = whole.read_bytes()
    at = data.draw(st.one_of(st.integers(0, len(before) - 1), st.integers(0, 700)))
    harmed = whole.with_name("harmed")
    harmed.write_bytes(before[:at] + bytes([before[at] ^ 1 << data.draw(st.integers(0, 7))]) + before[at + 1 :])
    try:
        found = Compression.load(harmed)
    except SameSpaceError as error:
        assert str(error).startswith((f"{harmed} is not a compression, or damaged: ", f"{harmed} is of format "))
    else:
        assert (found.method, found.fingerprint) == (encoder.method, encoder.fingerprint)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_cut_short_is_noticed(whole: Path, length: int) -> None:
    cut = whole.with_name("cut")
    cut.write_bytes(whole.read_bytes()[:length])
    with pytest.raises(SameSpaceError, match="damaged"):
        Compression.load(cut)


@pytest.mark.parametrize("about", ["", "7", "[]", "{}", '{"format": 1}', '{"format": 1, "method": 3, "sha256": ""}'])
def test_other_files_are_refused(tmp_path: Path, whole: Path, about: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(save(load(whole.read_bytes()), {"compression": about}))
    with pytest.raises(SameSpaceError, match="is not a compression"):
        Compression.load(file)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [({"format": 2}, "is of format 2, and 1 is known"), ({"method": "none"}, "not a compression")],
)
def test_what_a_newer_version_wrote_is_refused(
    tmp_path: Path, pca: Compression, change: dict[str, object], refusal: str
) -> None:
    arrays = pca.arrays()
    method = str(change.get("method", "pca"))
    about = {"format": 1, "method": method, "sha256": digest(method, arrays)}
    for name, expected in (("good", about), ("newer", about | change)):
        (tmp_path / name).write_bytes(save(arrays, {"compression": json.dumps(expected)}))
    if method == "pca":
        assert Compression.load(tmp_path / "good").fingerprint == pca.fingerprint
    with pytest.raises(SameSpaceError, match=refusal):
        Compression.load(tmp_path / "newer")


@pytest.mark.parametrize(
    "shapes", [[], [(3, 5), (4,)], [(5,), (5,)], [(4, 5), (4,), (2, 3), (2,)]], ids=["none", "bias", "flat", "chain"]
)
def test_layers_that_do_not_fit_are_refused(tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    names = ("0 weight", "0 bias", "1 weight", "1 bias")
    arrays = {name: np.ones(shape, np.float32) for name, shape in zip(names, shapes, strict=False)}
    about = {"format": 1, "method": "pca", "sha256": digest("pca", arrays)}
    (tmp_path / "file").write_bytes(save(arrays, {"compression": json.dumps(about)}))
    with pytest.raises(SameSpaceError, match="is not a compression"):
        Compression.load(tmp_path / "file")


def test_no_file_and_no_room_are_told(pca: Compression, tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match="nothing: no such file"):
        Compression.load(tmp_path / "nothing")
    (tmp_path / "taken").touch()
    with pytest.raises(SameSpaceError, match="cannot write"):
        pca.save(tmp_path / "taken" / "file")
