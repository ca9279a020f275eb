"""The head's closed form against torch.func."""

import numpy as np
import pytest
import torch

from passband.base.errors import BadInputError
from passband.learning.segmentation import cross_entropy, segmentation_loss, softmax_cross_entropy
from passband.network_measures import head
from support.measured_networks import pair


def slow(state, loss):
    """The Hessian by the head's weights, output by output with the bias last, by torch.func."""
    conv = state.model.head
    outputs, inputs = conv.weight.shape[0], conv.weight[0].numel()
    others = {k: v for k, v in state.model.state_dict().items() if not k.startswith("head.")}

    def of(flat):
        rows = flat.view(outputs, inputs + 1)
        weights = {"head.weight": rows[:, :-1].reshape(conv.weight.shape), "head.bias": rows[:, -1]}
        logits = torch.func.functional_call(state.model, others | weights, (state.images,))
        return loss(logits, state.masks).mean()

    flat = torch.cat([conv.weight.flatten(1), conv.bias[:, None]], 1).detach().flatten()
    return torch.func.hessian(of)(flat).numpy()


@pytest.mark.parametrize("loss", [segmentation_loss, cross_entropy])
def test_the_closed_form_is_the_hessian(loss):
    _, state = pair(loss=loss)
    assert state.head_hessian == pytest.approx(slow(state, loss), rel=1e-6, abs=1e-10)


def test_the_fisher_information_is_the_hessian_of_the_cross_entropy():
    home, _ = pair()
    assert home.head_fisher == pytest.approx(slow(home, cross_entropy), rel=1e-6, abs=1e-10)
    assert np.linalg.eigvalsh(home.head_fisher)[0] > -1e-12


def test_another_loss_is_refused():
    home, _ = pair(loss=softmax_cross_entropy)
    with pytest.raises(BadInputError, match="loss softmax_cross_entropy: its curvature is not known in closed form"):
        head.head_hessian(home.head_inputs, home.logits, home.masks, home.loss)
