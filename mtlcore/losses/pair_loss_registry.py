"""The losses of related pairs that the package has beside DM, SCA and ILL, which have sections of their own."""

from typing import TYPE_CHECKING

from mtlcore.registry import Registry

if TYPE_CHECKING:
    from mtlcore.losses.pair_loss import PairLoss

# A line here, the loss's name and ``mtlcore.losses.module:callable``, adds one.
PAIR_LOSSES: "Registry[PairLoss]" = Registry("pair loss", "kindred.pair_losses", {})
