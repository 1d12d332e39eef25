"""Parts that break one rule each: the contract suites must find every one of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import optuna
import torch
from extensions.parts.aggregators import Strongest
from extensions.parts.backbones import Maps, Pyramid, Vectors
from extensions.parts.datasets import Colours
from extensions.parts.methods import Mirrored, Neighbours
from optuna.samplers import BaseSampler, RandomSampler
from torch import nn

from patchtrain.catalog import DatasetFacts, MethodFacts
from patchtrain.datasets import Listing

# --- methods ---

_calls = itertools.count()


class DrawsFromNumpy(Mirrored):
    """Draws from a random state that no seed of the trial reaches."""

    def _encode(self, generator):
        generator = torch.Generator().manual_seed(next(_calls) * 977)
        self._batch.images[0][:, :] = next(_calls) % 256
        return super()._encode(generator)


class HoldsFeatures(Mirrored):
    """Keeps the features of each batch."""

    def _encode(self, generator):
        encoded, made = super()._encode(generator)
        self._kept = [*getattr(self, "_kept", ()), encoded.features.detach().clone()]
        return encoded, made


class RemembersBatches(Mirrored):
    """Trains on other pixels after some batches, which a resumed trial does not know of."""

    _seen = 0

    def start(self, batch):
        super().start(batch)
        self._seen += 1

    def predict(self, batch):
        return super().predict(batch)

    def _encode(self, generator):
        if self._seen > 2:
            self._batch.images[0][:] = 255 - self._batch.images[0]
        return super()._encode(generator)


class CountsChunks(Neighbours):
    """Leaves out a patch when patches run one at a time."""

    def _sample(self, num_images, generator):
        positions = super()._sample(num_images, generator)
        return positions * 0 if self._config.patch_microbatch == 1 else positions


class AllocatesByChance(Mirrored):
    """Takes memory that depends on pixels, which no estimate can know."""

    def _encode(self, generator):
        wasted = torch.zeros(int(self._batch.images[0].max()) * 100_000)
        encoded, made = super()._encode(generator)
        del wasted
        return encoded, made


class TrainsInPredict(Mirrored):
    """Changes weights while predicting."""

    def predict(self, batch):
        with torch.no_grad():
            for parameter in self._encoder.backbone.parameters():
                parameter.add_(0.1)
        return super().predict(batch)


class OutputsOfOneImage(Mirrored):
    """Predicts the first image only."""

    def predict(self, batch):
        return super().predict(batch)[:1]


class ReadsMoreThanItSays(Mirrored):
    """Depends on a setting that its facts do not name."""

    def _encode(self, generator):
        if self._config.inner_iterations == 3:
            self._batch.images[0][:] = 0
        return super()._encode(generator)


class BadReads(Mirrored):
    facts = MethodFacts(input_side="patch_size", reads=("patch_size", "patch_sise"))


class GlobalWithoutLatent(Mirrored):
    facts = MethodFacts(input_side="patch_size", has_global=True, reads=("patch_size",))


class RefusesInLines(Mirrored):
    facts = MethodFacts(
        input_side="patch_size", reads=("patch_size",), refuses={"detection": "is\nnot\ndone"}
    )


# --- backbones ---


class LyingVectors(Vectors):
    """Says that it gives more features than it does."""

    def __init__(self):
        super().__init__()
        self.num_features = 64


class DrawnByNumpy(Vectors):
    """Draws its weights from a random state of its own."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(next(_calls))
        for parameter in self.parameters():
            parameter.data = torch.from_numpy(random.normal(size=parameter.shape)).float()


class MixesInputs(Vectors):
    """Centres features over the inputs that happen to run together."""

    def forward(self, images):
        features = super().forward(images)
        return features - features.mean(dim=0, keepdim=True)


class NeverUsed(Vectors):
    """Has a layer that no input meets."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(4, 4)


class OwnNorm(Vectors):
    """Keeps statistics in a layer that torch does not know."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_var", torch.ones(1))
        self.momentum = 0.1


class UnderAnotherName(Vectors):
    """Saves its weights under names that it does not load."""

    def state_dict(self, *arguments, **settings):
        state = super().state_dict(*arguments, **settings)
        return type(state)((name.replace("layers", "blocks"), v) for name, v in state.items())


class MovesItsStatistics(Vectors):
    """Updates a buffer of its own in every pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, images):
        if self.training:
            self.seen += 1
        return super().forward(images)


class HalfMaps(Maps):
    """Shrinks its maps more than it says."""

    stride = 4


class CoarsePyramid(Pyramid):
    """Gives maps that start at 4 px."""

    def forward(self, images):
        maps = [self.stem(images)]
        for stage in self.stages[:2]:
            maps.append(stage(maps[-1]))
        return maps


# --- aggregators ---


class OneRow(Strongest):
    """Gives scores for all images together."""

    def forward(self, latent):
        return super().forward(latent).mean(dim=0, keepdim=True)


class CornerOnly(Strongest):
    """Sees one cell of the grid."""

    def forward(self, latent):
        return super().forward(latent[:, :, :1, :1])


class FixedGrid(Strongest):
    """Reads grids of 4 x 4 cells only."""

    def forward(self, latent):
        return super().forward(latent.reshape(len(latent), -1, 4, 4))


class Detached(Strongest):
    """Sends no gradient back to the latent block."""

    def forward(self, latent):
        return super().forward(latent.detach())


class AcrossImages(Strongest):
    """Compares the images of a batch."""

    def forward(self, latent):
        scores = super().forward(latent)
        return scores - scores.mean(dim=0)


# --- data sets ---


class Unsorted(Colours):
    def list_images(self, config, data_dir):
        listing = super().list_images(config, data_dir)
        return Listing(examples=listing.examples[::-1], class_names=listing.class_names)


class OpensImages(Colours):
    def list_images(self, config, data_dir):
        listing = super().list_images(config, data_dir)
        for example in listing.examples:
            example.open().close()
        return listing


class NeedsData(Colours):
    def class_names(self, config):
        return tuple(sorted(path.name for path in Path(config.data_dir).iterdir()))


class SaysNothingOfFolders(Colours):
    def list_images(self, config, data_dir):
        if not (data_dir / "labels.csv").exists():
            raise FileNotFoundError("labels.csv")
        return super().list_images(config, data_dir)


class SamplesByChance(Colours):
    def write_sample(self, out, num_images, image_size, seed):
        super().write_sample(out, num_images, image_size, next(_calls))


class UnknownTask(Colours):
    facts = DatasetFacts(task="regression")


# --- samplers ---


class Unseeded(RandomSampler):
    """Ignores its seed. What a search starts with is not the sampler's, so it must go on."""

    def __init__(self, seed, num_trials):
        super().__init__(seed=next(_calls) * 31)


class ByTheClock(BaseSampler):
    """Proposes the same again and again."""

    def __init__(self, seed, num_trials):
        """Take no notice of either."""

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        choices = getattr(distribution, "choices", None)
        return choices[0] if choices else distribution.low


class OneObjective(optuna.samplers.CmaEsSampler):
    """Maximises one value only."""

    def __init__(self, seed, num_trials):
        super().__init__(seed=seed)
