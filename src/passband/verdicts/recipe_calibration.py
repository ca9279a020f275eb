"""Calibrate verdicts of an external network, on specimens of a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from passband.base.errors import BadInputError, parameter
from passband.base.identity import content_id
from passband.conditions import Condition
from passband.execution.base import Executor, StageProgress
from passband.models.card import ModelCard
from passband.models.network import Network
from passband.models.store import Model
from passband.simulation.hrtem import Imager
from passband.simulation.imaging import pixels_across
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, draw_specimen
from passband.studies.wave_jobs import open_wave_set
from passband.verdicts.calibration import FEWEST, Named, roles, score_model
from passband.verdicts.features import as_seen
from passband.verdicts.from_study import specimens_of


@dataclass(frozen=True)
class Scoring:
    """A model, and the specimens and conditions to score it on.

    Attributes:
        model: the model.
        recipe: of the specimens.
        conditions: that it may meet; all of one energy.
        count: number of specimens.
        held_out: share of the conditions that verdicts are evaluated on.
        folder: for exit waves and work in progress.
    """

    model: Model
    recipe: Recipe
    conditions: Sequence[Condition]
    count: int
    held_out: float
    folder: Path

    @property
    def exit_waves(self) -> ExitWaveConfig:
        """Multislice settings: the defaults, at the conditions' energy."""
        return ExitWaveConfig(energy_ev=self.conditions[0].energy_ev)

    @property
    def side(self) -> int:
        """Side of the images: the recipe's field in the network's pixels; BadInputError if that is no whole number."""
        card = self.model.card
        try:
            return pixels_across(self.recipe.field_angstrom, card.pixel_size_angstrom)
        except BadInputError:
            raise BadInputError(
                f"the recipe's field of {self.recipe.field_angstrom:g} Å is no whole number of {card.name}'s pixels of {card.pixel_size_angstrom:g} Å; {_wider(card)}"
            ) from None

    def named(self) -> list[Named]:
        """Return role and condition of all: trained (if the card has them), calibration, held_out."""
        return roles(self.model.card.conditions, self.conditions, self.held_out)

    def check(self) -> None:
        """Check the input before any work.

        Raises:
            BadInputError: if field, energies, apertures or the number of conditions do not fit, or the network was trained on these specimens.
        """
        card, side = self.model.card, self.side
        if side % card.divisor:
            raise BadInputError(
                f"the recipe's field of {self.recipe.field_angstrom:g} Å is {side} of {card.name}'s pixels, and it takes multiples of {card.divisor}; {_wider(card)}"
            )
        named = self.named()
        energies = sorted({c.energy_ev for _, c in named})
        if len(energies) > 1:
            raise BadInputError(
                f"the conditions, with those {card.name} was trained on, have energies of {', '.join(f'{e:g}' for e in energies)} eV; give those of one energy"
            )
        fitted = sum(role != "held_out" for role, _ in named)
        if fitted < FEWEST:
            raise BadInputError(
                f"{len(self.conditions)} conditions leave {fitted} to calibrate verdicts on, and at least {FEWEST} are needed",
                remedy=f"give more, or a smaller {parameter('held_out')}",
            )
        recipe = card.specimens.recipe
        if recipe is not None and recipe == self.recipe.model_dump(mode="json"):
            raise BadInputError(
                f"{card.name} was trained on specimens of this very recipe; give the recipe another seed, so that it meets others"
            )
        for _, condition in named:
            Imager(as_seen(condition, card), self.recipe.field_angstrom, self.exit_waves).check()
        draw_specimen(self.recipe, self.count - 1)
        network = Network(self.model)
        try:
            network(torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0)))
        except BadInputError as error:
            raise BadInputError(
                f"{card.name} does not run on the recipe's field of {side} × {side} pixels: {_wider(card)}, or import the network "
                f"with free height and width ({error})"
            ) from None
        finally:
            network.close()

    def warnings(self) -> list[str]:
        """Return warnings, a line each."""
        card, side, lines = self.model.card, self.side, []
        if side != card.field_pixels:
            lines.append(
                f"the recipe's field is {side} of {card.name}'s pixels a side, and it was trained on {card.field_pixels} ({card.field_pixels * card.pixel_size_angstrom:g} Å); "
                "a micrograph is shown to it in tiles of the latter, so that scores at another size may differ: better give the recipe that field"
            )
        ours = specimens_of(self.recipe)
        if set(ours.elements) != set(card.specimens.elements):
            lines.append(
                f"the recipe's particles are {', '.join(ours.elements)}, and the card says {', '.join(card.specimens.elements)}; verdicts will rest on the former"
            )
        imagers = (Imager(as_seen(c, card), self.recipe.field_angstrom, self.exit_waves) for c in self.conditions)
        return lines + [line for imager in imagers if (line := imager.warning()) is not None][:1]

    def run(self, executor: Executor, progress: StageProgress, *, memory: int) -> Model:
        """Score the model, and return it with its scores; finished jobs of an earlier run are not repeated.

        Exit waves in work take at most `memory` bytes in a worker. BadInputError as `check`, or if the work fails.
        """
        self.check()
        card = self.model.card
        # The same file with another description is another network.
        description = {
            "foreign": card.external and card.external.model_dump(),
            "pixel": card.pixel_size_angstrom,
            "q": card.q_max_per_angstrom,
            "conditions": [c.to_dict() for c in card.conditions],
        }
        scored_on = specimens_of(self.recipe)
        return score_model(
            replace(self.model, card=card.model_copy(update={"scored_on": scored_on})),
            open_wave_set(self.recipe, self.exit_waves, self.folder.absolute()),
            (0, self.count),
            self.named(),
            self.folder / f"score-{card.name}-{content_id(description, 8)}",
            executor,
            progress,
            memory=memory,
        )


def _wider(card: ModelCard) -> str:
    field = card.field_pixels * card.pixel_size_angstrom
    return f"set field_angstrom: {field:g} in the recipe ({card.field_pixels} pixels, as it was trained)"
