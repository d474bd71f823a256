"""Two made datasets for the examples: one labelled with species, one with traits, and a table that relates them."""

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from mtlcore import Multiclass, Multilabel, Relatedness

SPECIES = Multiclass("species", ("crow", "gull", "swan", "penguin"))
TRAITS = Multilabel("traits", ("black", "flies", "swims"))
TABLE = Relatedness.from_rows(
    SPECIES,
    TRAITS,
    {"crow": ["black", "flies"], "gull": ["flies"], "swan": ["flies", "swims"], "penguin": ["black", "swims"]},
)
SIZE = 8  # numbers an input
# What the datasets and the test data share: where each species lies.
CENTRES = torch.randn(len(SPECIES.classes), SIZE, generator=torch.Generator().manual_seed(0))


class Birds(Dataset):
    """Birds of which the species is annotated, or the traits, or both; -1 stands where a label is not annotated."""

    def __init__(self, n: int, seed: int, annotated: tuple[str, ...]) -> None:
        draw = torch.Generator().manual_seed(seed)
        species = torch.randint(len(SPECIES.classes), (n,), generator=draw)
        self.x = CENTRES[species] + torch.randn(n, SIZE, generator=draw)
        traits = TABLE.table[species].long()
        self.labels = {
            "species": species if "species" in annotated else torch.full_like(species, -1),
            "traits": traits if "traits" in annotated else torch.full_like(traits, -1),
        }

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, Tensor | dict[str, Tensor]]:
        return {"x": self.x[i], "labels": {name: y[i] for name, y in self.labels.items()}}


def training_data() -> ConcatDataset:
    """Return few birds with their species, and many others with their traits."""
    return ConcatDataset([Birds(24, 1, ("species",)), Birds(400, 2, ("traits",))])


def test_data() -> Birds:
    """Return birds with both."""
    return Birds(500, 3, ("species", "traits"))
