"""Write sentences word by word: an LSTM is given a photo's features first, then each word that it has written.

Vinyals et al., CVPR 2015, with the batch norm of a published project between the photo and the LSTM. The backbone that
features come from is not part of the network, and is never trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from samespace.base.arrays import Array, Floats, Ints, blocks
from samespace.base.errors import SameSpaceError
from samespace.words import model_files
from samespace.words.caption_in_numpy import Weights
from samespace.words.photo_features import FeatureSource
from samespace.words.vocabulary import PAD, START, STOP, Vocabulary

KIND = "captioner"  # of file
# On validation photos of drawn rooms and of Flickr8k, seen without colours, captions had a CIDEr-D of 1.64 and 0.21 if
# written greedily, 1.76 and 0.25 by a beam of 3, 1.80 and 0.24 by one of 5. They were no shorter than people's of about
# their length, so that none is preferred for being longer.
BEAM = 3
LONGEST = 40  # words: people hardly ever write more
PHOTOS_AT_ONCE = 256


class Network(Protocol):
    """The weights that a captioner is used with: arrays of numpy, or those that PyTorch trains."""

    def begin(self, features: Floats) -> Any:
        """Return the LSTM's state once it has seen the photos (B, photo_dim), and no word yet."""

    def follow(self, words: Ints, state: Any) -> tuple[Floats, Any]:
        """Return logits (B, words) of what follows words (B,), and the state after them."""

    def pick(self, state: Any, rows: Ints) -> Any:
        """Return the state of some rows, in their order."""

    def arrays(self) -> dict[str, Array]:
        """Return the weights by name."""


class Written(NamedTuple):
    """A sentence for each of N photos."""

    ids: Ints  # (N, T), without START, filled up with PAD
    likelihood: Floats  # (N,): its logarithm


def write(network: Network, features: Floats, beam: int, longest: int) -> Written:
    """Return the likeliest sentences of 1 to `longest` words by a beam search; a beam of 1 is greedy."""
    photos = len(features)
    state = network.begin(features)
    ids = np.full((photos, 1, 0), PAD, np.int64)  # (N, beam, T)
    last = np.full((photos, 1), START, np.int64)
    likelihood = np.zeros((photos, 1), np.float32)
    ended = np.zeros((photos, 1), np.bool_)
    for place in range(longest):
        logits, state = network.follow(last.ravel(), state)
        if place == 0:
            logits[:, STOP] = -np.inf
        words = logits.shape[1]
        steps = _log_softmax(logits).reshape(photos, -1, words)
        steps[ended] = -np.inf
        steps[..., PAD][ended] = 0  # all that follows an end
        among = (likelihood[..., None] + steps).reshape(photos, -1)
        chosen = _best(among, min(beam, among.shape[1]))
        likelihood = np.take_along_axis(among, chosen, 1)
        origin, last = chosen // words, chosen % words
        ids = np.concatenate([np.take_along_axis(ids, origin[..., None], 1), last[..., None]], 2)
        ended = np.take_along_axis(ended, origin, 1) | (last == STOP)
        if ended[:, 0].all():  # all others are less likely, and become no likelier
            break
        state = network.pick(state, (origin + np.arange(photos)[:, None] * steps.shape[1]).ravel())
    if not np.isfinite(likelihood[:, 0]).all():
        raise SameSpaceError("the captioner's weights are not finite: train it again, at a lower learning rate")
    return Written(ids[:, 0], likelihood[:, 0])


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _best(values: Floats, count: int) -> Ints:
    """Return the columns of the highest values of each row, (N, count), the highest first."""
    found = np.argpartition(-values, count - 1, 1)[:, :count]
    order = np.argsort(-np.take_along_axis(values, found, 1), 1, kind="stable")
    return np.take_along_axis(found, order, 1)


class Captioner:
    """A trained network, the words it knows, and the backbone it was trained on."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        feature_source: FeatureSource,
        about: dict[str, Any] | None = None,
    ) -> None:
        """Join the parts; `about` holds facts about its training, for people to read."""
        arrays = network.arrays()
        assert len(arrays["word.weight"]) == len(vocabulary), "a row for each word"
        self.network, self.vocabulary, self.feature_source = network, vocabulary, feature_source
        self.about = about or {}
        self.photo_dim = arrays["photo.weight"].shape[1]  # the length of a photo's features

    def check(self, feature_source: FeatureSource) -> None:
        """Refuse features of another backbone."""
        model_files.check_backbone(KIND, self.feature_source, feature_source)

    def captions(self, features: Array, beam: int = BEAM, longest: int = LONGEST) -> list[str]:
        """Return a sentence for each of N photos by features (N, photo_dim) of any length, the same every time."""
        assert beam > 0 and longest > 0, "at least a word"
        written = []
        for some in blocks(len(features), PHOTOS_AT_ONCE):
            rows = model_files.unit_features(KIND, self.feature_source, features[some], self.photo_dim)
            found = write(self.network, rows, beam, longest)
            written += [self.vocabulary.decode(ids) for ids in found.ids.tolist()]
        return written

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        arrays = self.network.arrays()
        about = {
            "photo_dim": self.photo_dim,
            "embed_size": arrays["word.weight"].shape[1],
            "hidden_size": arrays["next.weight"].shape[1],
            "trunk": self.feature_source._asdict(),
            "vocabulary": self.vocabulary.to_json(),
            "about": self.about,
        }
        model_files.save(path, KIND, about, arrays)

    @staticmethod
    def load(path: Path) -> Captioner:
        """Read what `save` wrote. It is data alone: a file from a stranger is safe to load."""

        def build(about: dict[str, Any], arrays: dict[str, Array]) -> Captioner:
            vocabulary = Vocabulary.from_json(about["vocabulary"])
            _refuse_other_shapes(arrays, len(vocabulary), about)
            return Captioner(Weights(arrays), vocabulary, FeatureSource.from_json(about["trunk"]), about["about"])

        return model_files.load(path, KIND, build)


def _refuse_other_shapes(arrays: Mapping[str, Array], words: int, about: Mapping[str, Any]) -> None:
    embed, hidden = about["embed_size"], about["hidden_size"]
    shapes = {
        "photo.weight": (embed, about["photo_dim"]),
        "photo.bias": (embed,),
        **dict.fromkeys(("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"), (embed,)),
        "norm.num_batches_tracked": (),
        "word.weight": (words, embed),
        "lstm.weight_ih_l0": (4 * hidden, embed),
        "lstm.weight_hh_l0": (4 * hidden, hidden),
        "lstm.bias_ih_l0": (4 * hidden,),
        "lstm.bias_hh_l0": (4 * hidden,),
        "next.weight": (words, hidden),
        "next.bias": (words,),
    }
    if shapes != {name: values.shape for name, values in arrays.items()}:
        raise ValueError("other weights than a captioner has")
