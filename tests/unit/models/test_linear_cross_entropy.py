import pytest
import torch
from torch.nn.functional import cross_entropy

from ptft.models import linear_cross_entropy
from ptft.models.linear_cross_entropy import summed_linear_cross_entropy


def both(at_once, monkeypatch, kind=None, errors_at_once=0, rows=37, width=16, vocabulary=50, z_loss=0.0):
    """(loss, gradients of hidden states and weights) of ours and of the plain way."""
    monkeypatch.setitem(linear_cross_entropy._LOGITS_AT_ONCE, "cpu", at_once)
    monkeypatch.setitem(linear_cross_entropy._ERRORS_AT_ONCE, "cpu", errors_at_once)
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=draw)
    weight = torch.randn(vocabulary, width, generator=draw)
    labels = torch.randint(vocabulary, (rows,), generator=draw)
    found = []
    for ours in (True, False):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        with torch.autocast("cpu", kind or torch.bfloat16, enabled=kind is not None):
            logits = torch.nn.functional.linear(h, w)
            plain = cross_entropy(logits.float(), labels, reduction="sum")
            plain = plain + z_loss * logits.float().exp().sum(-1).log().square().sum()
            loss = summed_linear_cross_entropy(h, w, labels, z_loss) if ours else plain
        assert loss.dtype == torch.float32
        (loss * 3).backward()
        assert h.grad.dtype == w.grad.dtype == torch.float32
        found.append((loss.detach(), h.grad, w.grad))
    return found


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("at_once", [1, 50, 500, 1850, 1 << 21])  # one row, ten, all of them in one part
@pytest.mark.parametrize("errors_at_once", [0, 600, 1 << 24])
def test_loss_and_gradients_are_those_of_the_plain_way(errors_at_once, at_once, z_loss, monkeypatch):
    ours, plain = both(at_once, monkeypatch, errors_at_once=errors_at_once, z_loss=z_loss)
    for mine, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("errors_at_once", [0, 600, 1 << 24])
def test_under_autocast_the_loss_is_summed_in_fp32_and_gradients_err_no_more_than_in_the_plain_way(
    errors_at_once, monkeypatch
):
    exact = both(500, monkeypatch)[1]
    ours, plain = both(500, monkeypatch, torch.bfloat16, errors_at_once)
    torch.testing.assert_close(ours[0], plain[0], rtol=1e-6, atol=0)
    for mine, other, truth in zip(ours[1:], plain[1:], exact[1:], strict=True):
        assert 0 < (mine - truth).abs().mean() < 1.2 * (other - truth).abs().mean()
