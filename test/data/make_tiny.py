#!/usr/bin/env python3
"""Makes the three tiny networks of this folder with seeded weights, an input for each, and what ONNX Runtime computes
from it. Formats and purpose: README.md beside this file.

    pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1
    python3 make_tiny.py
"""
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent


class Net:
    """Collects nodes and weights; every method adds one node and returns the name of its output."""

    def __init__(self, name, shape, opset, seed):
        self.name, self.shape, self.opset = name, shape, opset
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, name, values):
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op, name, inputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name + "_node", **attributes))
        return name

    def conv(self, name, x, cin, cout, kernel, groups=1, bias=True, **attributes):
        fan_in = cin // groups * kernel * kernel
        w = self.rng.standard_normal((cout, cin // groups, kernel, kernel)) * np.sqrt(2 / fan_in)
        inputs = [x, self.weight(name + ".w", w.astype(np.float32))]
        if bias:
            inputs.append(self.weight(name + ".b", (self.rng.standard_normal(cout) * 0.1).astype(np.float32)))
        return self.node("Conv", name, inputs, group=groups, kernel_shape=[kernel, kernel], **attributes)

    def batch_norm(self, name, x, channels):
        draw = lambda low, high: self.rng.uniform(low, high, channels).astype(np.float32)
        parts = [self.weight(f"{name}.{k}", v) for k, v in
                 (("scale", draw(0.8, 1.2)), ("bias", draw(-0.1, 0.1)), ("mean", draw(-0.1, 0.1)), ("var", draw(0.7, 1.3)))]
        return self.node("BatchNormalization", name, [x] + parts, epsilon=1e-5)

    def dense(self, name, x, cin, cout):
        w = (self.rng.standard_normal((cout, cin)) * np.sqrt(1 / cin)).astype(np.float32)
        b = (self.rng.standard_normal(cout) * 0.1).astype(np.float32)
        return self.node("Gemm", name, [x, self.weight(name + ".w", w), self.weight(name + ".b", b)], transB=1)

    def save(self, outputs):
        graph = helper.make_graph(
            self.nodes, self.name, [helper.make_tensor_value_info("image", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], producer_name="make_tiny.py")
        model.ir_version = 7
        onnx.checker.check_model(model)
        path = HERE / (self.name + ".onnx")
        onnx.save(model, path)
        self.golden(path)

    def golden(self, path):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        image = self.rng.uniform(-1, 1, self.shape).astype("<f4")
        image.tofile(HERE / (self.name + ".in.f32"))
        for i, out in enumerate(session.run(None, {"image": image})):
            out.astype("<f4").tofile(HERE / f"{self.name}.out{i}.f32")
            print(f"{self.name} output {i}: {out.shape}, |max| {np.abs(out).max():.4f}")


def branching():
    """An inception-like fork: 1x1, 3x3 and pooled branches of an odd-sized image meet in a Concat; then a residual Add."""
    n = Net("tiny_branching", [1, 3, 19, 17], 13, 1)
    x = n.node("Relu", "stem_relu", [n.batch_norm("stem_bn", n.conv("stem", "image", 3, 8, 3, bias=False, strides=[2, 2], pads=[1, 1, 1, 1]), 8)])
    a = n.node("Relu", "a_relu", [n.conv("a", x, 8, 6, 1)])
    b = n.node("Relu", "b_relu", [n.conv("b", x, 8, 8, 3, pads=[1, 1, 1, 1])])
    c = n.node("MaxPool", "c_pool", [x], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    c = n.node("Relu", "c_relu", [n.conv("c", c, 8, 2, 1)])
    y = n.node("Concat", "joined", [a, b, c], axis=1)
    z = n.conv("mix", y, 16, 16, 3, pads=[1, 1, 1, 1])
    y = n.node("Relu", "sum_relu", [n.node("Add", "sum", [y, z])])
    y = n.node("MaxPool", "down", [y], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    y = n.node("Flatten", "flat", [n.node("GlobalAveragePool", "mean", [y])], axis=1)
    n.dense("scores", y, 16, 10)
    n.save([("scores", [1, 10])])


def depthwise():
    """Two inverted residual blocks with ReLU6, one of them strided, as MobileNetV2 has them; opset 11 Clip inputs."""
    n = Net("tiny_depthwise", [1, 3, 24, 24], 11, 2)
    n.weight("zero", np.float32(0))
    n.weight("six", np.float32(6))
    relu6 = lambda name, x: n.node("Clip", name, [x, "zero", "six"])
    x = relu6("stem_relu6", n.batch_norm("stem_bn", n.conv("stem", "image", 3, 8, 3, bias=False, strides=[2, 2], pads=[0, 0, 1, 1]), 8))
    for i, stride in ((1, 1), (2, 2)):
        y = relu6(f"expand{i}_relu6", n.conv(f"expand{i}", x, 8, 24, 1))
        pads = [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]
        y = n.conv(f"dw{i}", y, 24, 24, 3, groups=24, bias=False, strides=[stride, stride], pads=pads)
        y = relu6(f"dw{i}_relu6", n.batch_norm(f"dw{i}_bn", y, 24))
        y = n.conv(f"project{i}", y, 24, 8, 1)
        x = n.node("Add", f"residual{i}", [x, y]) if stride == 1 else y
    y = n.node("ReduceMean", "mean", [x], axes=[2, 3], keepdims=0)
    n.node("Softmax", "probabilities", [n.dense("scores", y, 8, 12)], axis=1)
    n.save([("probabilities", [1, 12])])


def two_outputs():
    """A detector-like net: scores (softmax over pairs) and boxes from two scales, joined along the anchors."""
    n = Net("tiny_two_outputs", [1, 1, 20, 28], 13, 3)
    x = n.node("LeakyRelu", "stem_leaky", [n.conv("stem", "image", 1, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1])], alpha=0.1015625)
    y = n.node("Relu", "deep_relu", [n.conv("deep", x, 8, 16, 3, strides=[2, 2], pads=[1, 1, 1, 1])])
    scores, boxes = [], []
    for i, (feature, channels) in enumerate(((x, 8), (y, 16))):
        for kind, width, into in (("score", 2, scores), ("box", 4, boxes)):
            t = n.conv(f"{kind}{i}", feature, channels, width, 3, pads=[1, 1, 1, 1])
            t = n.node("Transpose", f"{kind}{i}_last", [t], perm=[0, 2, 3, 1])
            shape = n.weight(f"{kind}{i}_shape", np.array([1, -1, width], np.int64))
            into.append(n.node("Reshape", f"{kind}{i}_rows", [t, shape]))
    n.node("Softmax", "scores", [n.node("Concat", "all_scores", scores, axis=1)], axis=2)
    n.node("Concat", "boxes", boxes, axis=1)
    n.save([("scores", [1, 175, 2]), ("boxes", [1, 175, 4])])


if __name__ == "__main__":
    branching()
    depthwise()
    two_outputs()
