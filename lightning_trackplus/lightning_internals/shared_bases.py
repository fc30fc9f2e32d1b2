"""Classes that are those of each of Lightning's packages: what is raised can be caught under the name of either."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.fabric.utilities.warnings import PossibleUserWarning
    from lightning.pytorch.callbacks import Callback
else:
    from lightning_trackplus.lightning_internals.flavours import class_of_all_flavours

    Callback = class_of_all_flavours("callbacks", "Callback", __name__)
    MisconfigurationException = class_of_all_flavours(
        "fabric.utilities.exceptions", "MisconfigurationException", __name__
    )
    PossibleUserWarning = class_of_all_flavours("fabric.utilities.warnings", "PossibleUserWarning", __name__)

__all__ = ["Callback", "MisconfigurationException", "PossibleUserWarning"]
