"""The twin network: the same either way round, small in what it keeps, and learning only where it should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from samespace.base.errors import SameSpaceError
from samespace.model.backbone import make_backbone
from samespace.model.feature_bank import Maps, frozen_maps
from samespace.model.heads import CODE, Embeddings
from samespace.model.network import ConcatHead, Frozen, TwinNetwork

MakeNetwork = Callable[..., TwinNetwork]
VARIANT_COUNT = 4


def random_codes(*shape: int, seed: int, top: int = CODE) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(-top, top + 1, shape).astype(np.int8))


def some_embeddings(count: int, dim: int, seed: int) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    vectors = nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)
    return Embeddings(vectors, random_codes(count, 9, 4, seed=seed))


def both_ways(head: ConcatHead, first: Embeddings, second: Embeddings) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return head(first, second), head(second, first)


# ---- heads


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=10)
def test_the_concat_head_does_not_mind_the_order_in_use(seed: int, count: int) -> None:
    torch.manual_seed(seed)
    head = ConcatHead(16, (0.4, 0.4, 0.4)).eval()
    first, second = some_embeddings(count, 16, seed), some_embeddings(count, 16, seed + 1)
    one_way, other_way = both_ways(head, first, second)
    assert torch.allclose(one_way, other_way, atol=1e-5)


@torch.no_grad()
def test_the_concat_head_takes_the_mean_of_both_orders_in_use_only() -> None:
    torch.manual_seed(0)
    head = ConcatHead(16, (0.0, 0.0, 0.0))
    first, second = some_embeddings(3, 16, 1), some_embeddings(3, 16, 2)
    one_way, other_way = head.train()(first, second), head(second, first)
    assert not torch.allclose(one_way, other_way)
    assert torch.allclose(head.eval()(first, second), (one_way + other_way) / 2)


def test_dropouts_are_used_in_training_only() -> None:
    network = TwinNetwork(make_backbone("mobilenet_v3_small", "none"), "concat", dropouts=(0.1, 0.2, 0.3))
    assert [layer.p for layer in network.head.modules() if isinstance(layer, nn.Dropout)] == [0.1, 0.2, 0.3]
    first, second = some_embeddings(3, 1024, 1), some_embeddings(3, 1024, 2)
    network.train()
    assert not torch.equal(network.head(first, second), network.head(first, second))
    network.eval()
    assert torch.equal(network.head(first, second), network.head(first, second))


# ---- the network


@pytest.mark.parametrize("trainable", ["head", "last_conv"])
@torch.no_grad()
def test_photos_score_as_their_frozen_halves_do(trainable: str, make_network: MakeNetwork, training_maps: Maps) -> None:
    network = make_network("concat", trainable)
    pixels = torch.randint(0, 256, (4, 3, 256, 256), dtype=torch.uint8)
    kept = network.embed(pixels)
    frozen = network.freeze(*frozen_maps(pixels, network.backbone))
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 3, 2])
    logits = network(*frozen.take(first), *frozen.take(second))
    assert torch.allclose(logits, network.head(kept.take(first), kept.take(second)), atol=1e-4)
    assert torch.allclose(logits, network(*frozen.take(second), *frozen.take(first)), atol=1e-5)


@torch.no_grad()
def test_variants_come_as_rows_one_photo_after_the_other(make_network: MakeNetwork, training_maps: Maps) -> None:
    network = make_network("compare")
    frozen = network.freeze(*training_maps)
    again = network.freeze(training_maps.parts[1, 2:3], training_maps.seen[1, 2:3])
    assert len(frozen.start) == len(frozen.parts) == VARIANT_COUNT * len(training_maps.parts)
    assert torch.allclose(frozen.start[VARIANT_COUNT + 2], again.start[0], atol=1e-4)


@torch.no_grad()
def test_what_is_kept_of_a_photo_is_small(make_network: MakeNetwork) -> None:
    kept = make_network("compare").embed(torch.zeros(2, 3, 256, 256, dtype=torch.uint8))
    assert kept.vectors.shape == (2, 512) and kept.parts.shape == (2, 256, 32)
    assert kept.parts.dtype == torch.int8
    assert kept.vectors[0].half().nbytes + kept.parts[0].nbytes <= 10_000
    assert make_network("concat").embed(torch.zeros(2, 3, 256, 256)).parts.shape == (2, 0, 0)


def step(network: TwinNetwork, frozen: Frozen) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's values before and after one step of training."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    optimizer = torch.optim.RMSprop([value for value in network.parameters() if value.requires_grad], lr=1e-3)
    first, second = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 2, 7])
    logits = network(*frozen.take(first), *frozen.take(second))
    nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0.0, 1.0, 0.0])).backward()
    optimizer.step()
    return before, network.state_dict()


@pytest.mark.parametrize("trainable", ["head", "last_conv"])
def test_only_what_is_trainable_learns(trainable: str, make_network: MakeNetwork, training_maps: Maps) -> None:
    network = make_network("concat", trainable)
    before, after = step(network, network.freeze(*training_maps))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("head.") for name in changed)
    assert not any(name.startswith(("trunk.early", "trunk.middle", "whiten")) for name in changed)
    assert not any(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    assert ("trunk.last.0.conv.conv.weight" in changed) == (trainable == "last_conv")
    assert any(name.startswith("trunk.last") for name in changed) == (trainable == "last_conv")


def test_each_head_has_its_own_default_of_what_learns() -> None:
    networks = [TwinNetwork(make_backbone("mobilenet_v3_small", "none"), head) for head in ("compare", "concat")]
    assert [network.trainable for network in networks] == ["head", "last_conv"]


def test_unknown_choices_list_the_known() -> None:
    backbone = make_backbone("mobilenet_v3_small", "none")
    with pytest.raises(SameSpaceError, match="unknown head 'cosine': choose one of compare, concat"):
        TwinNetwork(backbone, "cosine")
    with pytest.raises(SameSpaceError, match="trainable cannot be 'all': choose one of head, last_conv"):
        TwinNetwork(backbone, "compare", "all")
