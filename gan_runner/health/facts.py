"""Properties of a run that health verdicts depend on, beside the logged values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gan_runner.augment.none import NoAugmentation
from gan_runner.loss.objective import Objective
from gan_runner.protocols import Augmentation


@dataclass(frozen=True)
class Facts:
    """Properties of the loss and the augmentation."""

    sign_decides: bool = False  # True: an accuracy of 1 means that the discriminator has won
    ranked: bool = True  # True: the discriminator should score real images above samples
    augmented: bool = False
    centers: Mapping[str, float] = field(default_factory=dict)  # penalty -> target gradient norm, two-sided, above 0


def facts_of(objective: Objective, augment: Augmentation) -> Facts:
    term = objective.adversarial
    penalties = [(name, p) for name, p in objective.penalties.items() if not getattr(p, "one_sided", False)]
    centers = {name: getattr(penalty, "center", 0.0) for name, penalty in penalties}
    return Facts(
        sign_decides=term.zero_is_boundary and not objective.semi_supervised,  # there the aim is the class error
        ranked=getattr(term, "ranked", True),
        augmented=not isinstance(augment, NoAugmentation),
        centers={name: center for name, center in centers.items() if center > 0},
    )
