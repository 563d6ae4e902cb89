"""Every model against its paper's formulas, written as loops over rows, fields and pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from model_reference import (
    DIM,
    dense,
    flat,
    logits,
    looked_up,
    made,
    relu_mlp,
    sigmoid,
    softmax,
    with_weights,
)
from numpy.typing import NDArray

PAIRS = list(itertools.combinations(range(4), 2))
PLAIN = {"dropout": 0.0}
MLP = {"embedding_dim": DIM, "hidden_units": (5, 3), **PLAIN}


def _close(received: NDArray, expected: NDArray) -> None:
    np.testing.assert_allclose(received, expected, rtol=2e-4, atol=2e-4)


def _fm_pairs(vectors: NDArray) -> NDArray:
    return np.array([sum(row[i] @ row[j] for i, j in PAIRS) for row in vectors])


def test_lr() -> None:
    model = made("lr")
    _close(logits(model), looked_up(model.first_order)[:, :, 0].sum(axis=1) + model.first_order.bias.numpy())


def test_fm() -> None:
    model = made("fm", embedding_dim=DIM)
    vectors, first_order = with_weights(model.fields)
    _close(logits(model), model.bias.bias.numpy() + first_order + _fm_pairs(vectors))


def test_an_fm_with_zero_factors_is_linear() -> None:
    model = made("fm", embedding_dim=DIM)
    for variable in model.fields.trainable_variables:
        variable.assign(np.concatenate([np.zeros_like(variable[:, :-1]), variable[:, -1:]], axis=1))
    _close(logits(model), model.bias.bias.numpy() + with_weights(model.fields)[1])


def test_ffm() -> None:
    model = made("ffm", embedding_dim=2)
    vectors, first_order = with_weights(model.fields)
    # v[i][f]: the vector of field i for field f, of which there is none for i itself.
    expected = []
    for row in vectors.reshape(3, 4, 3, 2):
        v = [dict(zip([f for f in range(4) if f != i], row[i], strict=True)) for i in range(4)]
        expected.append(sum(v[i][j] @ v[j][i] for i, j in PAIRS))
    _close(logits(model), model.bias.bias.numpy() + first_order + np.array(expected))


def test_mlp() -> None:
    model = made("mlp", **MLP)
    _close(logits(model), dense(model.projection, relu_mlp(model.hidden, flat(model.flat))))


def test_wide_deep() -> None:
    model = made("wide_deep", **MLP)
    wide = looked_up(model.wide)[:, :, 0].sum(axis=1) + model.wide.bias.numpy()
    _close(logits(model), wide + dense(model.projection, relu_mlp(model.hidden, flat(model.vectors))))


def test_deepfm() -> None:
    model = made("deepfm", **MLP)
    vectors, first_order = with_weights(model.fields)
    deep = dense(model.projection, relu_mlp(model.hidden, vectors.reshape(3, -1)))
    _close(logits(model), first_order + _fm_pairs(vectors) + deep)


def test_deep_crossing() -> None:
    model = made("deep_crossing", embedding_dim=DIM, residual_units=(6, 5))
    hidden = flat(model.flat)
    for unit in model.units:
        kernel, bias, back, back_bias = unit.get_weights()
        hidden = np.maximum(hidden + np.maximum(hidden @ kernel + bias, 0) @ back + back_bias, 0)
    _close(logits(model), dense(model.projection, hidden))


def _projected(model: object, **parts: NDArray) -> NDArray:
    layer = model.projection  # type: ignore[attr-defined]
    return sum((x @ layer.kernels[name].numpy())[:, 0] for name, x in parts.items()) + layer.bias.numpy()[0]


def _crossed(model: object, x0: NDArray) -> NDArray:
    x = x0
    for kernel, bias in zip(model.cross.kernels, model.cross.biases, strict=True):  # type: ignore[attr-defined]
        x = np.stack([x0[r] * (x[r] @ kernel.numpy()[:, 0]) + bias.numpy() + x[r] for r in range(3)])
    return x


def test_dcn() -> None:
    model = made("dcn", num_layers=3, batch_norm=False, **MLP)
    x = flat(model.flat)
    _close(logits(model), _projected(model, cross=_crossed(model, x), deep=relu_mlp(model.hidden, x)))


def test_a_dcn_without_layers_is_its_head() -> None:
    model = made("dcn", num_layers=0, embedding_dim=DIM, hidden_units=(), batch_norm=False)
    _close(logits(model), _projected(model, cross=flat(model.flat)))


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
@pytest.mark.parametrize(("low_rank", "num_experts"), [(0, 1), (2, 1), (2, 3)])
def test_dcn_v2(structure: str, low_rank: int, num_experts: int) -> None:
    model = made("dcn_v2", structure=structure, num_layers=2, low_rank=low_rank, num_experts=num_experts, **MLP)
    x0 = x = flat(model.flat)
    for kernels, bias in zip(model.cross.kernels, model.cross.biases, strict=True):
        k, b = {name: kernel.numpy() for name, kernel in kernels.items()}, bias.numpy()
        after = np.zeros_like(x)
        for r in range(3):
            if not low_rank:
                after[r] = x0[r] * (x[r] @ k["kernel"] + b) + x[r]
            elif num_experts == 1:
                after[r] = x0[r] * (x[r] @ k["down"][0] @ k["up"][0] + b) + x[r]
            else:
                gates = softmax(x[r] @ k["gate"])
                experts = [x0[r] * (np.tanh(np.tanh(x[r] @ k["down"][e]) @ k["inner"][e]) @ k["up"][e] + b) for e in range(num_experts)]
                after[r] = sum(g * e for g, e in zip(gates, experts, strict=True)) + x[r]
        x = after
    parallel = {"cross": x, "deep": relu_mlp(model.hidden, x0)}
    _close(logits(model), _projected(model, **(parallel if structure == "parallel" else {"deep": relu_mlp(model.hidden, x)})))


def _cin(layer: object, first: NDArray) -> NDArray:
    maps, pooled = first, []
    for kernel, bias in zip(layer.kernels, layer.biases, strict=True):  # type: ignore[attr-defined]
        w = kernel.numpy().reshape(maps.shape[1], first.shape[1], -1)
        after = np.zeros((3, w.shape[2], first.shape[2]))
        for h, i, j in itertools.product(range(w.shape[2]), range(maps.shape[1]), range(first.shape[1])):
            after[:, h] += w[i, j, h] * maps[:, i] * first[:, j]
        maps = after + bias.numpy()[None, :, None]
        pooled.append(maps.sum(axis=2))
    return np.concatenate(pooled, axis=1)


def test_xdeepfm() -> None:
    model = made("xdeepfm", cin_units=(3, 2), **MLP)
    vectors, first_order = with_weights(model.fields)
    deep = dense(model.projection, relu_mlp(model.hidden, vectors.reshape(3, -1)))
    _close(logits(model), first_order + dense(model.cin_projection, _cin(model.cin, vectors)) + deep)


def test_a_cin_layer_of_ones_is_the_squared_sum_of_the_fields() -> None:
    model = made("xdeepfm", cin_units=(1,), **MLP)
    vectors, _ = with_weights(model.fields)
    model.cin.kernels[0].assign(np.ones((16, 1)))
    model.cin.biases[0].assign(np.zeros(1))
    _close(model.cin(vectors.astype(np.float32)).numpy()[:, 0], np.square(vectors.sum(axis=1)).sum(axis=1))


@pytest.mark.parametrize("pooling", ["attention", "mean", "max", "sum"])
def test_afm(pooling: str) -> None:
    model = made("afm", embedding_dim=DIM, pooling=pooling, attention_units=3)
    vectors, first_order = with_weights(model.fields)
    pooled = []
    for row in vectors:
        pairs = np.array([row[i] * row[j] for i, j in PAIRS])
        if pooling == "attention":
            kernel, bias, score = model.pool.get_weights()
            pairs *= softmax((np.maximum(pairs @ kernel + bias, 0) @ score)[:, 0])[:, None]
        pooled.append({"mean": np.mean, "max": np.max}.get(pooling, np.sum)(pairs, axis=0))
    _close(logits(model), model.bias.bias.numpy() + first_order + dense(model.projection, np.array(pooled)))


def test_an_afm_that_sums_with_a_projection_of_ones_is_an_fm() -> None:
    model = made("afm", embedding_dim=DIM, pooling="sum")
    model.projection.set_weights([np.ones((DIM, 1))])
    vectors, first_order = with_weights(model.fields)
    _close(logits(model), model.bias.bias.numpy() + first_order + _fm_pairs(vectors))


def test_ipnn() -> None:
    model = made("ipnn", **MLP)
    vectors = looked_up(model.fields)
    products = np.array([[row[i] @ row[j] for i, j in PAIRS] for row in vectors])
    _close(logits(model), dense(model.projection, relu_mlp(model.hidden, np.concatenate([vectors.reshape(3, -1), products], axis=1))))


def test_factorized_ipnn() -> None:
    model = made("ipnn", factorized=True, **MLP)
    vectors, theta = looked_up(model.fields), model.factorized.theta.numpy()
    kernel, bias, *second = model.hidden.get_weights()
    hidden = np.zeros((3, 5))
    for r, n in itertools.product(range(3), range(5)):
        products = sum(theta[i, n] * theta[j, n] * vectors[r, i] @ vectors[r, j] for i in range(4) for j in range(4))
        hidden[r, n] = max(vectors[r].reshape(-1) @ kernel[:, n] + bias[n] + products, 0)
    _close(logits(model), dense(model.projection, np.maximum(hidden @ second[0] + second[1], 0)))


@pytest.mark.parametrize("kernel", ["matrix", "vector"])
def test_opnn(kernel: str) -> None:
    model = made("opnn", kernel=kernel, **MLP)
    vectors, kernels = looked_up(model.fields), model.products.kernel.numpy()
    products = np.zeros((3, 6))
    for r, (p, (i, j)) in itertools.product(range(3), enumerate(PAIRS)):
        matrix = kernels[p] if kernel == "matrix" else np.diag(kernels[p])
        products[r, p] = (np.outer(vectors[r, i], vectors[r, j]) * matrix).sum()
    _close(logits(model), dense(model.projection, relu_mlp(model.hidden, np.concatenate([vectors.reshape(3, -1), products], axis=1))))


# Vectors wider than a head; as wide as one, which is computed otherwise, with a projected residual and with the vectors themselves.
@pytest.mark.parametrize(("units", "heads"), [(6, 2), (8, 2), (4, 1)])
@pytest.mark.parametrize(("scale", "layer_norm", "hidden_units"), [(False, False, ()), (True, False, (5, 3)), (True, True, ())])
def test_autoint(scale: bool, layer_norm: bool, hidden_units: tuple[int, ...], units: int, heads: int) -> None:
    shape = {"attention_units": units, "num_heads": heads, "num_layers": 2, "scale": scale, "layer_norm": layer_norm}
    model = made("autoint", embedding_dim=DIM, hidden_units=hidden_units, **shape)
    vectors, width = looked_up(model.fields), units // heads
    attended = vectors
    for layer in model.attention.layers:
        query, key, value, *residual = np.split(layer.kernel.numpy(), layer.kernel.shape[1] // units, axis=1)
        after = np.zeros((3, 4, units))
        for r, head in itertools.product(range(3), range(heads)):
            part = slice(width * head, width * (head + 1))
            scores = (attended[r] @ query[:, part]) @ (attended[r] @ key[:, part]).T / (width**0.5 if scale else 1)
            after[r, :, part] = softmax(scores) @ (attended[r] @ value[:, part])
        after += attended @ residual[0] if residual else attended
        if layer_norm:
            gamma, beta = layer.norm.get_weights()
            after = gamma * (after - after.mean(axis=2, keepdims=True)) / np.sqrt(after.var(axis=2, keepdims=True) + 1e-5) + beta
        attended = np.maximum(after, 0)
    expected = dense(model.projection, attended.reshape(3, -1))
    if hidden_units:
        expected += dense(model.deep.layers[1], relu_mlp(model.deep.layers[0], vectors.reshape(3, -1)))
    _close(logits(model), expected)


def test_dlrm() -> None:
    model = made("dlrm", embedding_dim=DIM, bottom_units=(3,), top_units=(5,))
    bottom = relu_mlp(model.bottom, np.array([[0.5], [-2.0], [1.5]]))
    stack = next(sub for sub in model.fields._flatten_layers() if hasattr(sub, "offsets"))
    table, offsets = stack.table.numpy(), stack.offsets
    a, b, tags = (table[offsets[name] :] for name in ("a", "b", "tags"))
    zero = np.zeros(DIM)
    fields = np.array([[a[1], b[2], tags[1:4].mean(axis=0)], [a[4], b[2], tags[5]], [zero, b[3], zero]])
    vectors = np.concatenate([bottom[:, None], fields], axis=1)
    products = np.array([[row[i] @ row[j] for i, j in PAIRS] for row in vectors])
    _close(logits(model), dense(model.projection, relu_mlp(model.top, np.concatenate([bottom, products], axis=1))))


def test_final_mlp() -> None:
    model = made("final_mlp", embedding_dim=DIM, first_units=(6,), second_units=(4,), num_heads=2, gate_units=3)
    x, streams = flat(model.flat), []
    for context, gate, hidden in model.streams:
        kernel, bias, gate_kernel, gate_bias = gate.get_weights()
        shares = 2 * sigmoid(np.maximum(flat(context) @ kernel + bias, 0) @ gate_kernel + gate_bias)
        streams.append(relu_mlp(hidden, x * shares))
    w = model.fusion.kernel.numpy()
    terms = [
        sum(streams[0][r, 3 * h : 3 * h + 3] @ w[h] @ streams[1][r, 2 * h : 2 * h + 2] for h in range(2)) for r in range(3)
    ]
    linear = sum(dense(layer, stream) for layer, stream in zip(model.fusion.linear, streams, strict=True))
    _close(logits(model), linear + np.array(terms))
