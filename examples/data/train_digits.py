#!/usr/bin/env python3
"""Trains the small LeNet-5-like network of the examples on scikit-learn's bundled digits and writes, beside itself,

  digits.onnx              the network: 1x1x32x32 float in, ten scores out (ONNX opset 13)
  digits.splitcnn.json     how to use it: input transform and labels
  digits_calibration.f32   32 training frames, float32, in the network's own layout
  digits_test.gray         360 held-out frames as a camera would give them: 8x8, 8-bit gray
  digits_test.labels       their classes, one byte each

    pip install numpy==2.4.6 scikit-learn==1.9.1 onnx==1.23.2
    python3 train_digits.py

Everything is seeded: the same versions on the same kind of CPU give the same files, other versions may differ in the last
digits. The frames are 1,797 hand-written digits of 8x8 pixels (E. Alpaydin and C. Kaynak, "Optical Recognition of
Handwritten Digits", UCI Machine Learning Repository, CC BY 4.0), as scikit-learn ships them. A random fifth is held out,
stratified by class; writers appear in both parts.
"""
import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 7
SIZE = 32          # height and width of the network's input
EPOCHS = 24
BATCH = 32
HERE = pathlib.Path(__file__).resolve().parent


def enlarge(frames):
    """8x8 to 32x32 as the library's InputTransform does (stretch, bilinear, half-pixel centres, rounded to 8 bits)."""
    n = frames.shape[1]
    position = np.clip((np.arange(SIZE) + 0.5) * n / SIZE - 0.5, 0, n - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, n - 1)
    part = position - low
    weights = np.zeros((SIZE, n))
    weights[np.arange(SIZE), low] += 1 - part
    weights[np.arange(SIZE), high] += part
    return np.floor(np.einsum("yi,nij,xj->nyx", weights, frames.astype(np.float64), weights) + 0.5)


def network_input(frames):
    return (enlarge(frames) / 255.0).astype(np.float32)[:, None]


def he(rng, *shape):
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def initial_weights(rng):
    return {"conv1.w": he(rng, 6, 1, 5, 5), "conv1.b": np.zeros(6, np.float32),
            "conv2.w": he(rng, 16, 6, 5, 5), "conv2.b": np.zeros(16, np.float32),
            "fc1.w": he(rng, 120, 400), "fc1.b": np.zeros(120, np.float32),
            "fc2.w": he(rng, 84, 120), "fc2.b": np.zeros(84, np.float32),
            "fc3.w": he(rng, 10, 84), "fc3.b": np.zeros(10, np.float32)}


def columns(x, k):
    """Every k x k patch of x (N,C,H,W) as a row: N, H-k+1, W-k+1, C*k*k."""
    patches = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    n, c, h, w = patches.shape[:4]
    return np.ascontiguousarray(patches.transpose(0, 2, 3, 1, 4, 5)).reshape(n, h, w, c * k * k)


def conv(x, w, b):
    cols = columns(x, w.shape[2])
    return (cols @ w.reshape(len(w), -1).T + b).transpose(0, 3, 1, 2), cols


def conv_backward(x, w, cols, dy):
    k = w.shape[2]
    rows = dy.transpose(0, 2, 3, 1).reshape(-1, len(w))
    dw = (rows.T @ cols.reshape(len(rows), -1)).reshape(w.shape)
    padded = np.pad(dy, ((0, 0), (0, 0), (k - 1, k - 1), (k - 1, k - 1)))
    dx, _ = conv(padded, w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), 0)
    return dx, dw, rows.sum(0)


def pool(x):
    n, c, h, w = x.shape
    tiles = x.reshape(n, c, h // 2, 2, w // 2, 2)
    y = tiles.max(axis=(3, 5))
    return y, tiles == y[:, :, :, None, :, None]


def pool_backward(winners, dy):
    n, c, h, _, w, _ = winners.shape
    spread = winners * (dy[:, :, :, None, :, None] / winners.sum(axis=(3, 5), keepdims=True))
    return spread.reshape(n, c, 2 * h, 2 * w)


def forward(p, x):
    kept = {"x": x}
    a, kept["cols1"] = conv(x, p["conv1.w"], p["conv1.b"])
    kept["relu1"] = np.maximum(a, 0)
    kept["pool1"], kept["win1"] = pool(kept["relu1"])
    a, kept["cols2"] = conv(kept["pool1"], p["conv2.w"], p["conv2.b"])
    kept["relu2"] = np.maximum(a, 0)
    pooled, kept["win2"] = pool(kept["relu2"])
    kept["flat"] = pooled.reshape(len(x), -1)
    kept["fc1"] = np.maximum(kept["flat"] @ p["fc1.w"].T + p["fc1.b"], 0)
    kept["fc2"] = np.maximum(kept["fc1"] @ p["fc2.w"].T + p["fc2.b"], 0)
    return kept["fc2"] @ p["fc3.w"].T + p["fc3.b"], kept


def gradients(p, kept, scores, labels):
    e = np.exp(scores - scores.max(1, keepdims=True))
    d = e / e.sum(1, keepdims=True)
    d[np.arange(len(labels)), labels] -= 1
    d = (d / len(labels)).astype(np.float32)
    g = {}
    for name, source in (("fc3", "fc2"), ("fc2", "fc1"), ("fc1", "flat")):
        g[name + ".w"], g[name + ".b"] = d.T @ kept[source], d.sum(0)
        d = d @ p[name + ".w"]
        if source != "flat":
            d = d * (kept[source] > 0)
    d = pool_backward(kept["win2"], d.reshape(len(labels), 16, 5, 5)) * (kept["relu2"] > 0)
    d, g["conv2.w"], g["conv2.b"] = conv_backward(kept["pool1"], p["conv2.w"], kept["cols2"], d)
    d = pool_backward(kept["win1"], d) * (kept["relu1"] > 0)
    _, g["conv1.w"], g["conv1.b"] = conv_backward(kept["x"], p["conv1.w"], kept["cols1"], d)
    return g


def train(x, labels):
    """Adam with a falling rate on frames shifted by up to two pixels."""
    rng = np.random.default_rng(SEED)
    p = initial_weights(rng)
    first = {k: np.zeros_like(v) for k, v in p.items()}
    second = {k: np.zeros_like(v) for k, v in p.items()}
    step, steps = 0, EPOCHS * (len(x) // BATCH)
    for epoch in range(EPOCHS):
        order, loss = rng.permutation(len(x)), 0.0
        for i in range(0, len(x) - BATCH + 1, BATCH):
            pick = order[i:i + BATCH]
            shifted = np.roll(x[pick], rng.integers(-2, 3, 2), axis=(2, 3))
            scores, kept = forward(p, shifted)
            top = scores.max(1, keepdims=True)
            loss += float((np.log(np.exp(scores - top).sum(1)) + top[:, 0] - scores[np.arange(BATCH), labels[pick]]).mean())
            step += 1
            rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * step / steps))
            for k, g in gradients(p, kept, scores, labels[pick]).items():
                g = g + 1e-4 * p[k]
                first[k] = 0.9 * first[k] + 0.1 * g
                second[k] = 0.999 * second[k] + 0.001 * g * g
                p[k] -= (rate * (first[k] / (1 - 0.9 ** step)) / (np.sqrt(second[k] / (1 - 0.999 ** step)) + 1e-8)).astype(np.float32)
        print(f"epoch {epoch + 1:2}: loss {loss / (len(x) // BATCH):.4f}")
    return p


def write_onnx(p, path):
    nodes, last = [], "input"
    for i in (1, 2):
        nodes += [helper.make_node("Conv", [last, f"conv{i}.w", f"conv{i}.b"], [f"conv{i}"], f"conv{i}", kernel_shape=[5, 5]),
                  helper.make_node("Relu", [f"conv{i}"], [f"relu{i}"], f"relu{i}"),
                  helper.make_node("MaxPool", [f"relu{i}"], [f"pool{i}"], f"pool{i}", kernel_shape=[2, 2], strides=[2, 2])]
        last = f"pool{i}"
    nodes.append(helper.make_node("Flatten", [last], ["flat"], "flatten", axis=1))
    last = "flat"
    for i in (1, 2, 3):
        out = "scores" if i == 3 else f"fc{i}"
        nodes.append(helper.make_node("Gemm", [last, f"fc{i}.w", f"fc{i}.b"], [out], f"fc{i}", transB=1))
        last = out
        if i < 3:
            nodes.append(helper.make_node("Relu", [out], [f"fc{i}_relu"], f"fc{i}_relu"))
            last = f"fc{i}_relu"
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(v, k) for k, v in p.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="train_digits.py")
    model.ir_version = 7
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main():
    digits = load_digits()
    frames = np.floor(digits.images * 255 / 16 + 0.5).astype(np.uint8)   # 0..16 to 0..255
    train_frames, test_frames, train_labels, test_labels = train_test_split(
        frames, digits.target, test_size=360, random_state=SEED, stratify=digits.target)
    x = network_input(train_frames)
    weights = train(x, train_labels)

    scores, _ = forward(weights, network_input(test_frames))
    right = int((scores.argmax(1) == test_labels).sum())
    print(f"test accuracy: {right} of {len(test_labels)} = {100 * right / len(test_labels):.2f} %")

    write_onnx(weights, HERE / "digits.onnx")
    x[:32].astype("<f4").tofile(HERE / "digits_calibration.f32")
    test_frames.tofile(HERE / "digits_test.gray")
    test_labels.astype(np.uint8).tofile(HERE / "digits_test.labels")
    sidecar = {"format": "splitcnn-sidecar", "version": 1,
               "input_transform": {"resize": "stretch", "sampling": "bilinear", "order": "rgb",
                                   "mean": [0, 0, 0], "scale": [1 / 255] * 3},
               "labels": [str(i) for i in range(10)]}
    (HERE / "digits.splitcnn.json").write_text(json.dumps(sidecar, indent=1) + "\n")


if __name__ == "__main__":
    main()
