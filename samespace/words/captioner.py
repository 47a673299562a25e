"""Write sentences word by word: an LSTM is given a photo's features first, then each word that it has written.

Vinyals et al., CVPR 2015, with the batch norm of a published project between the photo and the LSTM. The backbone that
features come from is not part of the network, and is never trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from samespace.base.arrays import Array, blocks
from samespace.base.errors import SameSpaceError
from samespace.words import model_files
from samespace.words.photo_features import FeatureSource
from samespace.words.vocabulary import PAD, START, STOP, UNKNOWN, Vocabulary

EMBED_SIZE, HIDDEN_SIZE = 256, 512
KIND = "captioner"  # of file
# On validation photos of drawn rooms and of Flickr8k, seen without colours, captions had a CIDEr-D of 1.64 and 0.21 if
# written greedily, 1.76 and 0.25 by a beam of 3, 1.80 and 0.24 by one of 5. They were no shorter than people's of about
# their length, so that none is preferred for being longer.
BEAM = 3
LONGEST = 40  # words: people hardly ever write more
PHOTOS_AT_ONCE = 256

State = tuple[Tensor, Tensor]  # the LSTM's, each (1, B, hidden_size)


class CaptionNetwork(nn.Module):
    """Predicts the next word from a photo and the words before. Sentences are ids (B, T) that begin with START.

    There is no dropout: with half the numbers dropped, captions were worse, by CIDEr-D on validation photos 1.53
    instead of 1.76 on drawn rooms, 0.20 instead of 0.25 on Flickr8k, as MobileNetV2 sees them without colours.
    """

    def __init__(
        self,
        words: int,
        photo_dim: int,
        embed_size: int = EMBED_SIZE,
        hidden_size: int = HIDDEN_SIZE,
    ) -> None:
        super().__init__()
        self.photo = nn.Linear(photo_dim, embed_size)
        self.norm = nn.BatchNorm1d(embed_size)
        self.word = nn.Embedding(words, embed_size, padding_idx=PAD)
        self.lstm = nn.LSTM(embed_size, hidden_size, batch_first=True)
        self.next = nn.Linear(hidden_size, words)

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        """Return logits (B, T, words) of what follows each word of sentences (B, T) for photos (B, photo_dim)."""
        said, _ = self.lstm(self.word(ids), self.see(features))
        return self._logits(said)

    @torch.no_grad()
    def settle(self, features: Tensor) -> None:
        """Give batch norm the mean and the spread that all training photos (N, photo_dim) have.

        A running average of momentum 0.01, as published, is that of a hundred batches: on a few photos those that the
        network has long outgrown. From 120 drawn rooms it learnt two thirds as much by CIDEr-D.
        """
        seen = self.photo(features)
        self.norm.running_mean, self.norm.running_var = seen.mean(0), seen.var(0)

    def see(self, features: Tensor) -> State:
        """Return the LSTM's state once it has seen the photos (B, photo_dim), and no word yet."""
        return self.lstm(self.norm(self.photo(features))[:, None])[1]

    def follow(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """Return logits (B, words) of what follows words (B,), and the LSTM's state after them."""
        said, state = self.lstm(self.word(words)[:, None], state)
        return self._logits(said[:, 0]), state

    def _logits(self, said: Tensor) -> Tensor:
        """Return logits that rule out padding, a second start and unknown words."""
        logits: Tensor = self.next(said)
        unsaid = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        unsaid[[PAD, START, UNKNOWN]] = True
        return logits.masked_fill(unsaid, -torch.inf)


class Written(NamedTuple):
    """A sentence for each of N photos."""

    ids: Tensor  # (N, T), without START, filled up with PAD
    likelihood: Tensor  # (N,): its logarithm


def write(network: CaptionNetwork, features: Tensor, beam: int, longest: int) -> Written:
    """Return the likeliest sentences of 1 to `longest` words by a beam search; a beam of 1 is greedy."""
    photos = len(features)
    state = network.see(features)
    ids = features.new_full((photos, 1, 0), PAD, dtype=torch.long)  # (N, beam, T)
    last = features.new_full((photos, 1), START, dtype=torch.long)
    likelihood = features.new_zeros(photos, 1)
    ended = torch.zeros_like(last, dtype=torch.bool)
    for place in range(longest):
        logits, state = network.follow(last.flatten(), state)
        if place == 0:
            logits[:, STOP] = -torch.inf
        words = logits.shape[1]
        steps = logits.log_softmax(1).view(photos, -1, words)
        steps = steps.masked_fill(ended[..., None], -torch.inf)
        steps[..., PAD].masked_fill_(ended, 0)  # all that follows an end
        likelihood, chosen = (likelihood[..., None] + steps).flatten(1).topk(min(beam, steps[0].numel()))
        origin, last = chosen // words, chosen % words
        ids = torch.cat([ids.gather(1, origin[..., None].expand(-1, -1, place)), last[..., None]], 2)
        ended = ended.gather(1, origin) | (last == STOP)
        if ended[:, 0].all():  # all others are less likely, and become no likelier
            break
        rows = (origin + torch.arange(photos, device=origin.device)[:, None] * (state[0].shape[1] // photos)).flatten()
        state = (state[0][:, rows], state[1][:, rows])
    if not likelihood[:, 0].isfinite().all():
        raise SameSpaceError("the captioner's weights are not finite: train it again, at a lower learning rate")
    return Written(ids[:, 0], likelihood[:, 0])


class Captioner:
    """A trained network, the words it knows, and the backbone it was trained on."""

    def __init__(
        self,
        network: CaptionNetwork,
        vocabulary: Vocabulary,
        feature_source: FeatureSource,
        about: dict[str, Any] | None = None,
    ) -> None:
        """Join the parts; `about` holds facts about its training, for people to read."""
        assert network.word.num_embeddings == len(vocabulary), "a row for each word"
        self.network, self.vocabulary, self.feature_source = network.eval(), vocabulary, feature_source
        self.about = about or {}

    @property
    def photo_dim(self) -> int:
        """Return the length of a photo's features."""
        return self.network.photo.in_features

    def check(self, feature_source: FeatureSource) -> None:
        """Refuse features of another backbone."""
        model_files.check_backbone(KIND, self.feature_source, feature_source)

    @torch.no_grad()
    def captions(self, features: Array, beam: int = BEAM, longest: int = LONGEST) -> list[str]:
        """Return a sentence for each of N photos by features (N, photo_dim) of any length, the same every time."""
        assert beam > 0 and longest > 0, "at least a word"
        self.network.eval()
        written = []
        for some in blocks(len(features), PHOTOS_AT_ONCE):
            rows = model_files.unit_features(KIND, self.feature_source, features[some], self.photo_dim)
            found = write(self.network, torch.from_numpy(rows).to(self.network.photo.weight.device), beam, longest)
            written += [self.vocabulary.decode(ids) for ids in found.ids.tolist()]
        return written

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        about = {
            "photo_dim": self.photo_dim,
            "embed_size": self.network.photo.out_features,
            "hidden_size": self.network.lstm.hidden_size,
            "trunk": self.feature_source._asdict(),
            "vocabulary": self.vocabulary.to_json(),
            "about": self.about,
        }
        model_files.save(path, KIND, about, self.network.state_dict())

    @staticmethod
    def load(path: Path, device: str = "cpu") -> Captioner:
        """Read what `save` wrote. It is data alone: a file from a stranger is safe to load."""

        def build(about: dict[str, Any], weights: dict[str, Tensor]) -> Captioner:
            vocabulary = Vocabulary.from_json(about["vocabulary"])
            network = CaptionNetwork(len(vocabulary), about["photo_dim"], about["embed_size"], about["hidden_size"])
            network.load_state_dict(weights)
            return Captioner(network.to(device), vocabulary, FeatureSource.from_json(about["trunk"]), about["about"])

        return model_files.load(path, KIND, build)
