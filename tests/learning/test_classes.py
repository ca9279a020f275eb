"""Classes: targets, the loss and scores against slow references, and groups of networks with several outputs."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from passband.base.errors import BadInputError
from passband.learning import Member, NetworkConfig, TrainingConfig, build, task_of, train_group
from passband.learning.classes import classes_of
from passband.learning.fleets import ARRANGEMENTS, Predictors, fleet
from passband.simulation.modality import camera_masks
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import SpecimenRecipe, draw_specimen
from passband.specimens.families import GivenRecipe, pack
from passband.specimens.labels import make_labels

RECIPE = SpecimenRecipe.model_validate(
    {
        "field_angstrom": 40.0,
        "overlap": "projected",
        "gap_angstrom": 0.0,
        "particles": [
            {"crystal": "Pd", "count": [2, 2], "diameter_angstrom": [16.0, 18.0]},
            {"crystal": "Au", "count": [2, 2], "diameter_angstrom": [16.0, 18.0]},
            {"crystal": "Au", "count": [1, 1], "shape": "sphere", "diameter_angstrom": [12.0, 14.0]},
        ],
        "substrate": {"thickness_angstrom": [8.0, 10.0]},
    }
)
NAMES = ("background", "Au", "Pd")
RNG = np.random.default_rng(1)
CONFIG = NetworkConfig(widths=(4, 8), outputs=3)


def test_classes_are_in_the_order_of_the_alphabet():
    turned = RECIPE.model_copy(update={"particles": RECIPE.particles[::-1]})
    assert classes_of([RECIPE]) == classes_of([turned, RECIPE]) == NAMES


def test_the_target_is_the_crystal_of_the_upper_particle_and_stays_one_on_the_camera():
    config = ExitWaveConfig()
    specimen, task = draw_specimen(RECIPE, 2), task_of("classes", classes=NAMES)
    target = task.target(RECIPE, specimen, config)
    labels = make_labels(specimen, config.grid_points(40.0))
    crystal_of = [None, *(p.crystal for p in specimen.particles)]
    expected = [[0 if i == 0 else NAMES.index(crystal_of[i]) for i in row] for row in labels.instances]
    assert target.dtype == np.uint8 and set(np.unique(target)) == {0, 1, 2}
    np.testing.assert_array_equal(target, expected)
    seen = camera_masks(torch.from_numpy(target)[None], 33)
    assert seen.dtype == torch.uint8 and set(seen.unique().tolist()) == {0, 1, 2}


def test_given_scenes_have_the_elements_of_their_particles_as_classes():
    drawn, config = draw_specimen(RECIPE, 0), ExitWaveConfig()
    atoms = drawn.atoms
    scene = pack("0", float(atoms.cell[2, 2]), atoms.numbers, drawn.particle, atoms.positions)
    given = GivenRecipe(field_angstrom=40.0, scenes=[scene])
    assert classes_of([given]) == NAMES
    task = task_of("classes", classes=NAMES)
    expected = task.target(RECIPE, drawn, config)
    assert (task.target(given, draw_specimen(given, 0), config) == expected).mean() > 0.999


def test_recipes_of_one_crystal_or_of_others_are_refused_in_a_line():
    gold = RECIPE.model_copy(update={"particles": RECIPE.particles[1:]})
    silver = RECIPE.model_copy(
        update={"particles": [gold.particles[0], gold.particles[0].model_copy(update={"crystal": "Ag"})]}
    )
    for recipes, words in (([gold], r"the specimens have 1 \(Au\)"), ([RECIPE, silver], "another Ag, Au")):
        with pytest.raises(BadInputError, match=words) as info:
            classes_of(recipes)
        assert info.value.remedy and "\n" not in str(info.value)


def slow_loss(logits, target):
    """Cross-entropy and Dice in loops over pixels, [K, n, n] and [n, n]."""
    p = np.exp(logits) / np.exp(logits).sum(0)
    n = target.shape[0]
    entropy = np.mean([-math.log(p[target[i, j], i, j]) for i in range(n) for j in range(n)])
    terms = []
    for k in range(1, len(logits)):
        both = sum(p[k, i, j] for i in range(n) for j in range(n) if target[i, j] == k)
        terms.append(1 - (2 * both + 1) / (p[k].sum() + (target == k).sum() + 1))
    return entropy + np.mean(terms)


def test_loss_is_cross_entropy_and_the_mean_dice_loss_of_the_crystals():
    logits, target = RNG.normal(0, 2, (2, 3, 6, 6)), RNG.integers(0, 3, (2, 6, 6))
    found = task_of("classes", classes=NAMES).loss(torch.from_numpy(logits), torch.from_numpy(target)[:, None].double())
    np.testing.assert_allclose(found, [slow_loss(*pair) for pair in zip(logits, target, strict=True)], rtol=1e-9)


def scored(called, true):
    """Scores of maps of classes, [B, n, n] each, from outputs that are highest at the class called."""
    task = task_of("classes", classes=NAMES)
    outputs = torch.nn.functional.one_hot(torch.from_numpy(called), 3).movedim(-1, 1).float()
    columns = task.score(outputs, torch.from_numpy(true)[:, None].float(), None)
    sums = {name: columns[name].sum() for name in task.counts}
    of_table = pl.DataFrame(sums).select(**task.scores({name: pl.col(name) for name in sums})).row(0, named=True)
    scores = task.scores(sums)
    assert of_table == pytest.approx(scores, nan_ok=True) and list(columns) == ["loss", *task.counts]
    # Plain numbers, as of a table's sums.
    assert task.scores({name: int(value) for name, value in sums.items()}) == pytest.approx(scores, nan_ok=True)
    np.testing.assert_array_equal(task.shown(outputs), called)
    return scores


def test_scores_are_those_of_loops_over_pixels():
    called, true = RNG.integers(0, 3, (2, 3, 9, 9))
    pairs = list(zip(called.ravel().tolist(), true.ravel().tolist(), strict=True))
    dice = [2 * sum(c == t == k for c, t in pairs) / sum((c == k) + (t == k) for c, t in pairs) for k in range(3)]
    particles = 2 * sum(c > 0 < t for c, t in pairs) / sum((c > 0) + (t > 0) for c, t in pairs)
    both = [(c, t) for c, t in pairs if c > 0 and t > 0]
    of_gold = sum(t == 1 for _, t in pairs) / sum(t > 0 for _, t in pairs)
    assert scored(called, true) == pytest.approx(
        {
            "mean_dice": (dice[1] + dice[2]) / 2,
            "dice_Au": dice[1],
            "dice_Pd": dice[2],
            "dice_particles": particles,
            "dice_background": dice[0],
            "pixel_accuracy": np.mean(called == true),
            "wrong_crystal": np.mean([c != t for c, t in both]),
            "wrong_crystal_trivial": 1 - max(of_gold, 1 - of_gold),
        }
    )


def test_all_particles_called_the_commonest_crystal_have_the_trivial_share_of_wrong_ones():
    true = RNG.integers(0, 3, (2, 12, 12))
    true[0] = np.minimum(true[0], 1)
    scores = scored(np.minimum(true, 1), true)
    assert scores["dice_particles"] == 1 and 0 < scores["wrong_crystal"] == pytest.approx(
        scores["wrong_crystal_trivial"]
    )


def test_a_crystal_that_is_not_there_does_not_count_and_nothing_at_all_is_no_number():
    gold = np.zeros((1, 4, 4), int)
    gold[0, 1] = 1
    scores = scored(gold, gold)
    assert scores["mean_dice"] == scores["dice_Au"] == 1 and math.isnan(scores["dice_Pd"])
    empty = np.zeros((1, 4, 4), int)
    scores = scored(empty, empty)
    assert math.isnan(scores["mean_dice"]) and math.isnan(scores["wrong_crystal"]) and scores["pixel_accuracy"] == 1


def test_a_single_output_changes_nothing_of_a_network():
    assert "outputs" not in NetworkConfig().model_dump() and CONFIG.model_dump()["outputs"] == 3
    one = build(NetworkConfig(widths=(4, 8)), seed=3).state_dict()
    several = build(CONFIG, seed=3).state_dict()
    differ = {name for name in one if one[name].shape != several[name].shape}
    assert differ == {"head.weight", "head.bias"}
    resnet = NetworkConfig(family="resnet_unet", backbone="resnet10", outputs=3)
    assert build(resnet)(torch.zeros(1, 1, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_outputs_of_a_group_are_those_of_its_networks_one_after_the_other(arrangement):
    models = [build(CONFIG, seed=i).eval() for i in range(3)]
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    together = fleet(CONFIG, [m.state_dict() for m in models], arrangement).eval()(images)
    alone = torch.cat([model(own) for model, own in zip(models, images.split(1, 1), strict=True)], 1)
    assert together.shape == (2, 9, 16, 16)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    [seen] = Predictors(CONFIG, models, torch.device("cpu"), arrangement).logits(images[:, :1])
    torch.testing.assert_close(seen.split(3, 1)[1], models[1](images[:, :1]), atol=1e-5, rtol=1e-4)


class TwoKinds:
    """Bright squares, class 1, and dark ones, class 2, in noise: as an `ImageSource`."""

    def __init__(self, count, seed):
        rng, self.device, self.parts, self.pixels = np.random.default_rng(seed), torch.device("cpu"), [self], 16
        truth = np.zeros((count, 16, 16), np.float32)
        for one, (x, y, u, v) in zip(truth, rng.integers(0, 12, (count, 4)), strict=True):
            one[x : x + 4, y : y + 4], one[u : u + 4, v : v + 4] = 1, 2
        self.masks = torch.from_numpy(truth)
        noise = torch.from_numpy(rng.normal(0, 0.3, truth.shape).astype(np.float32))
        self.images = torch.tensor([0.0, 1.5, -1.5])[self.masks.long()] + noise

    def __len__(self):
        return len(self.masks)

    def begin(self, share):
        """Nothing to begin."""

    def batch(self, specimens, orientations=None, *, generator):
        """Return images and truth [B, 1, n, n]."""
        return self.images[specimens][:, None], self.masks[specimens][:, None]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_member_of_a_group_is_trained_as_alone_and_learns(arrangement):
    config, task = TrainingConfig(epochs=8, batch_size=8, learning_rate=0.02), task_of("classes", classes=NAMES)
    members = [Member(TwoKinds(32, i), TwoKinds(8, 9), seed=i) for i in range(2)]
    together = train_group(CONFIG, config, members, arrangement=arrangement, bfloat16=False, task=task)
    for member, (model, history) in zip(members, together, strict=True):
        [(alone, losses)] = train_group(CONFIG, config, [member], bfloat16=False, task=task)
        found, expected = ([epoch["validation_loss"] for epoch in h] for h in (history, losses))
        assert found == pytest.approx(expected, rel=0.02)
        assert found[-1] < 0.5 * found[0]
        for name, weights in alone.state_dict().items():
            assert model.state_dict()[name].shape == weights.shape
