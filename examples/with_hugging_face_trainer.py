"""Co-training with Hugging Face's Trainer: the joint loss as its ``compute_loss_func``.

    pip install kindred-mtl transformers accelerate
    python examples/with_hugging_face_trainer.py

The model may be any that returns logits by task: ``MultiTaskNetwork`` over ``build_backbone("hf:...")`` is one over a
model of the hub. A loss is normalised over the batch, so ``gradient_accumulation_steps`` has to divide it, see below.
"""

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from transformers import Trainer, TrainingArguments
from two_datasets import SIZE, SPECIES, TABLE, TRAITS, test_data, training_data

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    MultiTaskNetwork,
    RelatedPair,
    mlp,
    task_metrics,
)


class Model(nn.Module):
    """A network for both tasks, as Trainer calls it: by name, with or without labels."""

    def __init__(self) -> None:
        super().__init__()
        backbone, features = mlp((SIZE,), hidden=(32,))
        self.network = MultiTaskNetwork(backbone, features, [SPECIES, TRAITS])

    def forward(self, x: Tensor, labels: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return logits by task; the loss is Trainer's to compute."""
        return self.network(x)


def loss_func(joint_loss: JointLoss, accumulated: int = 1) -> Any:
    """Return what Trainer takes as ``compute_loss_func``.

    Args:
        joint_loss: of all tasks and pairs.
        accumulated: Trainer's ``gradient_accumulation_steps``: it adds up what such a function returns. Every piece is
            then normalised by its own labels, not by the whole batch's as in `kindred`.
    """

    def compute(logits: dict[str, Tensor], labels: dict[str, Tensor], num_items_in_batch: Any = None) -> Tensor:
        return joint_loss(logits, labels).loss / accumulated

    return compute


def train(co_trained: bool = True, epochs: int = 10) -> dict[str, float]:
    """Train and test; return the test scores."""
    pair = RelatedPair(TABLE, dm=DistributionMatching(0.3), ill=ImpliedLikelihood(3.0))
    joint_loss = JointLoss([SPECIES, TRAITS], [pair] if co_trained else [])
    torch.manual_seed(0)
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=epochs, per_device_train_batch_size=64, learning_rate=1e-2, seed=0, use_cpu=True,
            save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        Trainer(
            model,
            arguments,
            train_dataset=training_data(),
            data_collator=default_collate,  # takes labels by task
            compute_loss_func=loss_func(joint_loss),
        ).train()
    tests = test_data()
    with torch.inference_mode():
        logits = model.eval()(tests.x)
    return {
        f"{task.name}/{metric}": float(task_metrics(logits[task.name], tests.labels[task.name], task)[metric])
        for task, metric in ((SPECIES, "accuracy"), (TRAITS, "macro_f1"))
    }


if __name__ == "__main__":
    print("naive", train(co_trained=False))
    print("co-trained", train())
