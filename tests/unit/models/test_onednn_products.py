import pytest
import torch
from torch.nn.functional import linear

from ptft.models.onednn import onednn_products


@pytest.mark.parametrize("shape", [(3, 16), (2, 5, 16), (2, 0, 16)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_torch(shape, bias):
    layer, states = torch.nn.Linear(16, 8, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        expected = layer(states)
        with onednn_products():
            found = layer(states)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_other_precisions_are_left_alone(kind):
    layer, states = torch.nn.Linear(16, 8).to(kind), torch.randn(3, 16, dtype=kind)
    with torch.inference_mode():
        expected = layer(states)
        with onednn_products():
            assert torch.equal(layer(states), expected)


def test_named_arguments_are_understood():
    states, weight = torch.randn(3, 16), torch.randn(8, 16)
    with torch.inference_mode(), onednn_products():
        torch.testing.assert_close(linear(states, weight=weight), states @ weight.T, atol=1e-5, rtol=1e-5)


def test_autocast_decides_alone():
    layer, states = torch.nn.Linear(16, 8), torch.randn(3, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), onednn_products():
        assert layer(states).dtype == torch.bfloat16


def test_a_weight_that_is_no_parameter_is_read_anew():
    states, weight = torch.randn(3, 16), torch.randn(8, 16)
    with torch.inference_mode(), onednn_products():
        for _ in range(2):
            weight.mul_(2)
            torch.testing.assert_close(linear(states, weight), states @ weight.T, atol=1e-5, rtol=1e-5)


def test_a_parameter_serves_rows_of_any_number():
    layer = torch.nn.Linear(16, 8)
    with torch.inference_mode(), onednn_products():
        for rows in (64, 1, 300):
            states = torch.randn(rows, 16)
            torch.testing.assert_close(layer(states), states @ layer.weight.T + layer.bias, atol=1e-5, rtol=1e-5)
