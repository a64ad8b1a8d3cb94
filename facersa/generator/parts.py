"""Face parsing without a parsing network: clusters of MobileStyleGAN's features.

The parts of a face that a generator has learned show as clusters of its
feature vectors: hair, skin, eyes, mouth, background (Collins et al. 2020). So
the parsing loss compares, place by place, how much each code's features belong
to each cluster. This is not BiSeNet and knows no labels; it needs the code and
cannot parse a photograph.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.registry import shipped_weights
from facersa.errors import AssetError
from facersa.generator.mobile_stylegan import MobileStyleGAN

PARTS = 12
BACKGROUND = (0, 3, 10)  # parts around people, chosen by eye for the shipped centres
BLOCKS = 4  # features after block 3: 512 channels, 64 x 64
SHARPNESS = 20.0  # of the shares: cosine differences of 1 / 20 matter
FIRST_SEED = 1_000_000  # of the people whose features are clustered


class GeneratorParser(nn.Module):
    """Features (B, 512, 64, 64) to shares of parts (B, K, 64, 64), summing to one.

    ``centres`` are (K, 512) unit vectors, one a part.
    """

    centres: Tensor

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.register_buffer("centres", F.normalize(centres.float(), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Parse ``features``."""
        unit = F.normalize(features, dim=1)
        cosines = torch.einsum("bchw,kc->bkhw", unit, self.centres)
        return (SHARPNESS * cosines).softmax(1)

    def background(self, features: Tensor) -> Tensor:
        """The share (B, 1, 64, 64) of background, for the shipped centres."""
        return self(features)[:, list(BACKGROUND)].sum(1, keepdim=True)


def load_parser(device: str | torch.device = "cpu") -> GeneratorParser:
    """The parser that ships with the package, a result of ``fit_parser``.

    Raises:
        AssetError: it is missing.
    """
    try:
        centres = shipped_weights("parser.safetensors")["centres"]
    except OSError as error:
        raise AssetError(
            "weights/parser.safetensors is missing from the package; install facersa "
            "again."
        ) from error
    return GeneratorParser(centres).to(device)


@torch.no_grad()
def fit_parser(
    generator: MobileStyleGAN,
    *,
    people: int = 48,
    places: int = 512,
    rounds: int = 40,
) -> GeneratorParser:
    """Spherical k-means of features at random places of generated faces.

    Args:
        generator: whose features are clustered.
        people: faces, drawn at psi = .85.
        places: of the 4096 in each face.
        rounds: of k-means.
    """
    rng = torch.Generator().manual_seed(FIRST_SEED)
    samples = []
    for seed in range(FIRST_SEED, FIRST_SEED + people):
        x = generator.synthesis.features(generator.sample([seed], 0.85), BLOCKS)
        flat = F.normalize(x.flatten(2)[0].T, dim=1)
        samples.append(flat[torch.randperm(len(flat), generator=rng)[:places]])
    vectors = torch.cat(samples)
    centres = vectors[torch.randperm(len(vectors), generator=rng)[:PARTS]]
    for _ in range(rounds):
        nearest = (vectors @ centres.T).argmax(1)
        for part in range(PARTS):
            members = vectors[nearest == part]
            if len(members):
                centres[part] = F.normalize(members.sum(0), dim=0)
    return GeneratorParser(centres)
