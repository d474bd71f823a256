"""Co-training in PyTorch Lightning: two datasets, one network, one loss, no callback.

    pip install kindred-mtl lightning
    python examples/with_lightning.py

With several workers (``Trainer(devices=4, strategy="ddp")``) nothing changes: counts and trust are summed over them.
"""

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from two_datasets import SIZE, SPECIES, TABLE, TRAITS, test_data, training_data

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    MultiTaskNetwork,
    RelatednessTrust,
    RelatedPair,
    mlp,
    task_metrics,
)

Batch = dict[str, Tensor | dict[str, Tensor]]


class CoTraining(lightning.LightningModule):
    """A network for both tasks, its joint loss, and the trust in the table."""

    def __init__(self, co_trained: bool = True) -> None:
        super().__init__()
        backbone, features = mlp((SIZE,), hidden=(32,))
        self.network = MultiTaskNetwork(backbone, features, [SPECIES, TRAITS])
        pair = RelatedPair(TABLE, dm=DistributionMatching(0.3), ill=ImpliedLikelihood(3.0))
        self.loss = JointLoss([SPECIES, TRAITS], [pair] if co_trained else [])
        # It trains its probes itself: Lightning and DistributedDataParallel are to leave them alone.
        self.trust = RelatednessTrust([TABLE], dict.fromkeys(("species", "traits"), features)).requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return logits by task."""
        return self.network(x)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One pass over a batch in which some rows have a species and others traits."""
        features = self.network.features(batch["x"])
        value = self.loss(self.network.from_features(features), batch["labels"], self.trust.by_edge())
        self.trust.observe(features, batch["labels"])
        self.log_dict(value.parts)
        return value.loss

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score both tasks; here the test data are one batch."""
        logits = self.network(batch["x"])
        for task, metric in ((SPECIES, "accuracy"), (TRAITS, "macro_f1")):
            self.log(f"{task.name}/{metric}", task_metrics(logits[task.name], batch["labels"][task.name], task)[metric])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser of the network alone."""
        return torch.optim.AdamW(self.network.parameters(), lr=1e-2)


def train(co_trained: bool = True, epochs: int = 10) -> dict[str, float]:
    """Train and test; return the test scores."""
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    model = CoTraining(co_trained)
    trainer.fit(model, DataLoader(training_data(), batch_size=64, shuffle=True))
    tests = test_data()
    return dict(trainer.test(model, DataLoader(tests, batch_size=len(tests)), verbose=False)[0])


if __name__ == "__main__":
    print("naive", train(co_trained=False))
    print("co-trained", train())
