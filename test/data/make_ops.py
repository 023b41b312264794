#!/usr/bin/env python3
"""Makes one tiny model per operator, attribute variant and opset in ops/, and what ONNX Runtime computes from it.

    pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1
    python3 make_ops.py

ops/<case>.onnx     the model: opset 7 to 21, IR 3 to 10
ops/values.f32      inputs and outputs of all cases, raw little-endian float32, equal ones stored once
ops/index.json      {case: {"opset", "inputs": [{"name", "shape", "offset"}], "outputs": [...]}}; offsets count floats
"""
import json
import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent / "ops"
IR = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


class Store:
    def __init__(self):
        self.index, self.values, self.known = {}, [], {}
        self.size = 0

    def put(self, array):
        raw = np.ascontiguousarray(array, np.float32).tobytes()
        if raw not in self.known:
            self.known[raw] = self.size
            self.values.append(raw)
            self.size += len(raw) // 4
        return self.known[raw]

    def entry(self, name, array):
        return {"name": name, "shape": list(array.shape), "offset": self.put(array)}


STORE = Store()


def noise(shape, seed=0, low=-2.0, high=2.0):
    """Quantised to 1/64 so that sums are exact and nearest-neighbour choices are visible."""
    rng = np.random.default_rng([seed, *shape])
    return (np.round(rng.uniform(low, high, shape) * 64) / 64).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def case(name, opset, nodes, inputs=((1, 3, 5, 6),), weights=None, outputs=("y",), data=None, typed=False):
    """nodes: (op, inputs, outputs, attributes). Inputs are x, x1, ...; weights: {name: array}."""
    weights = weights or {}
    feeds = {("x" if i == 0 else f"x{i}"): noise(s, i) for i, s in enumerate(inputs)}
    feeds.update(data or {})
    protos = []
    for w, array in weights.items():
        if typed and array.dtype != np.float16:
            t = helper.make_tensor(w, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.flatten().tolist())
        else:
            t = numpy_helper.from_array(np.asarray(array), w)
        protos.append(t)
    infos = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v.shape) for k, v in feeds.items()]
    if IR[opset] < 4:  # weights had to be inputs, too
        infos += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in protos]
    graph = helper.make_graph(
        [helper.make_node(op, list(i), list(o), **a) for op, i, o, a in nodes], "g", infos,
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs], protos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = IR[opset]
    model.producer_name = ""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run(list(outputs), feeds)
    key = f"{name}_{opset}"
    assert key not in STORE.index, key
    (HERE / f"{key}.onnx").write_bytes(model.SerializeToString())
    STORE.index[key] = {"opset": opset, "inputs": [STORE.entry(k, v) for k, v in feeds.items()],
                        "outputs": [STORE.entry(k, v) for k, v in zip(outputs, results)]}


def one(name, opsets, op, weights=None, attributes=None, inputs=((1, 3, 5, 6),), outputs=("y",), order=None, **more):
    """A single node whose inputs are the feeds, then the weights (or `order`)."""
    names = order or [("x" if i == 0 else f"x{i}") for i in range(len(inputs))] + list(weights or {})
    for opset in opsets:
        case(name, opset, [(op, names, outputs, attributes or {})], inputs, weights, outputs, **more)


def convolutions():
    w, b = noise((4, 3, 3, 3), 7), noise((4,), 8)
    one("conv", (7, 11, 21), "Conv", {"w": w, "b": b}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})
    one("conv_no_kernel_shape", (8, 13), "Conv", {"w": w}, {"strides": [2, 1], "pads": [0, 1, 2, 0]}, typed=True)
    one("conv_dilated", (9,), "Conv", {"w": noise((2, 3, 2, 3), 1)}, {"dilations": [2, 2], "pads": [1, 2, 1, 2]}, typed=True)
    one("conv_depthwise", (10,), "Conv", {"w": noise((6, 1, 3, 2), 2), "b": noise((6,), 3)}, {"group": 3, "strides": [2, 2]})
    one("conv_grouped", (12,), "Conv", {"w": noise((4, 2, 1, 1), 4)}, {"group": 2}, inputs=((2, 4, 3, 4),))
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        one("conv_" + mode.lower(), (7, 11), "Conv", {"w": noise((2, 3, 2, 3), 5)}, {"auto_pad": mode, "strides": [2, 2]})
    one("conv_same_upper_stride1", (16,), "Conv", {"w": noise((2, 3, 2, 4), 5)}, {"auto_pad": "SAME_UPPER"})
    s = {"s": noise((3,), 1), "b": noise((3,), 2), "m": noise((3,), 3), "v": np.abs(noise((3,), 4)) + np.float32(0.5)}
    for opset in (7, 9, 14, 15, 21):
        one("batch_norm", (opset,), "BatchNormalization", s, {"epsilon": 1e-3} if opset > 8 else {})
    one("lrn", (7, 13), "LRN", None, {"size": 3, "alpha": 0.5, "beta": 0.75, "bias": 1.5})
    one("lrn_wide", (13,), "LRN", None, {"size": 5}, inputs=((1, 5, 2, 3),))


def pools():
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        one("max_pool_" + mode.lower(), (8, 12), "MaxPool", None, {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": mode})
        one("average_pool_" + mode.lower(), (7, 11), "AveragePool", None, {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": mode})
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1]}
    one("max_pool", (7, 10, 11, 21), "MaxPool", None, window)
    one("max_pool_ceil", (10, 12, 19), "MaxPool", None, {**window, "ceil_mode": 1}, inputs=((1, 2, 6, 8),))
    one("max_pool_dilated", (10, 12), "MaxPool", None, {"kernel_shape": [2, 2], "dilations": [2, 3]})
    one("max_pool_stride1", (13,), "MaxPool", None, {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]})
    for include in (0, 1):
        one(f"average_pool_include{include}", (7, 10, 11, 19, 21), "AveragePool", None, {**window, "count_include_pad": include})
    one("average_pool_ceil", (10, 11, 19), "AveragePool", None, {**window, "ceil_mode": 1}, inputs=((1, 2, 6, 8),))
    one("average_pool_ceil_include", (19,), "AveragePool", None, {**window, "ceil_mode": 1, "count_include_pad": 1}, inputs=((1, 2, 6, 8),))
    one("average_pool_dilated", (19,), "AveragePool", None, {"kernel_shape": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]})
    one("global_average_pool", (7, 21), "GlobalAveragePool")
    one("global_average_pool_3d", (13,), "GlobalAveragePool", inputs=((2, 3, 4),))
    for keep in (0, 1):
        one(f"reduce_mean_keep{keep}", (7, 11, 13), "ReduceMean", None, {"axes": [2, 3], "keepdims": keep})
        one(f"reduce_mean_keep{keep}", (18, 21), "ReduceMean", {"a": ints(-1, 2)}, {"keepdims": keep})
    one("reduce_mean_channel", (11,), "ReduceMean", None, {"axes": [-3]})
    one("reduce_mean_all", (13, 18), "ReduceMean", None, {"keepdims": 0})
    one("reduce_mean_noop", (18,), "ReduceMean", None, {"noop_with_empty_axes": 1})


def activations():
    one("relu", (7, 13, 14), "Relu")
    one("sigmoid", (7, 13), "Sigmoid")
    one("tanh", (7, 13), "Tanh")
    one("exp", (7, 13), "Exp")
    one("sqrt", (7, 13), "Sqrt", data={"x": np.abs(noise((1, 3, 5, 6)))})
    one("hard_swish", (14, 21), "HardSwish")
    one("hard_sigmoid", (7, 21), "HardSigmoid", None, {"alpha": 0.25, "beta": 0.375})
    one("hard_sigmoid_default", (13,), "HardSigmoid")
    one("leaky_relu", (7, 16), "LeakyRelu", None, {"alpha": 0.1015625})
    one("leaky_relu_default", (8,), "LeakyRelu")
    one("prelu", (7, 9, 16), "PRelu", {"slope": noise((3, 1, 1), 9)})
    one("prelu_scalar", (9,), "PRelu", {"slope": noise((1,), 9)})
    one("clip", (7, 10), "Clip", None, {"min": -0.5, "max": 1.0})
    one("clip_min", (9,), "Clip", None, {"min": 0.25})
    f = lambda v: np.array(v, np.float32)
    one("clip", (11, 12, 13, 21), "Clip", {"lo": f(-0.5), "hi": f(1.0)})
    one("clip_max", (11,), "Clip", {"hi": f(1.0)}, order=["x", "", "hi"])
    one("clip_min", (13,), "Clip", {"lo": f(0.25)})
    one("clip_none", (13,), "Clip")
    case("clip_constant_nodes", 11, [("Constant", [], ["lo"], {"value": numpy_helper.from_array(f(0))}),
                                     ("Constant", [], ["hi"], {"value": numpy_helper.from_array(f(6))}),
                                     ("Clip", ["x", "lo", "hi"], ["y"], {})])
    for op in ("Softmax", "LogSoftmax"):
        n = op.lower()
        one(n, (7, 11), op)                                  # axis 1 flattens 3x5x6
        one(n + "_axis3", (8, 12), op, None, {"axis": 3})
        one(n + "_axis0", (9,), op, None, {"axis": 0}, inputs=((2, 3, 4),))
        one(n, (13, 21), op)
        one(n + "_axis1", (13,), op, None, {"axis": 1})
        one(n + "_2d", (7, 13), op, None, {"axis": 1}, inputs=((2, 7),))
    one("softmax_negative", (11, 13), "Softmax", None, {"axis": -2}, inputs=((2, 3, 4),))
    one("softmax_ones", (9,), "Softmax", None, {"axis": 1}, inputs=((1, 10, 1, 1),))


def arithmetic():
    for op in ("Add", "Sub", "Mul", "Div"):
        n = op.lower()
        other = np.abs(noise((3, 1, 1), 3)) + np.float32(0.25)
        one(n, (7, 13, 14), op, {"c": other})
        one(n + "_reversed", (8,), op, {"c": other}, order=["c", "x"])
        one(n + "_two", (9, 21), op, inputs=((1, 3, 5, 6), (1, 3, 1, 1)), data={"x1": other.reshape(1, 3, 1, 1)})
        one(n + "_scalar", (13,), op, {"c": np.array(1.5, np.float32)})
        one(n + "_row", (13,), op, {"c": np.abs(noise((6,), 5)) + np.float32(0.5)})
    one("sum", (8, 13), "Sum", inputs=((1, 3, 5, 6), (1, 3, 1, 1), (1, 3, 5, 6)))
    one("sum_one", (8,), "Sum")
    a, b = noise((4, 5), 1), noise((5,), 2)
    one("gemm", (7, 9, 13), "Gemm", {"b": a, "c": b}, inputs=((2, 4),))
    one("gemm_no_bias", (11,), "Gemm", {"b": a}, inputs=((2, 4),))
    one("gemm_scaled", (11, 21), "Gemm", {"b": a.T.copy(), "c": noise((2, 1), 3)}, {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}, inputs=((4, 2),))
    one("matmul", (7, 9, 13), "MatMul", {"b": a}, inputs=((2, 4),))
    one("matmul_batched", (13,), "MatMul", inputs=((2, 3, 4), (2, 4, 2)))
    one("matmul_broadcast", (9,), "MatMul", {"b": a}, inputs=((1, 2, 3, 4),))
    one("matmul_column", (13,), "MatMul", {"b": noise((4,), 4)}, inputs=((2, 3, 4),))
    one("matmul_row", (13,), "MatMul", {"a": noise((4,), 4)}, inputs=((4, 3),), order=["a", "x"])
    half, double = noise((4, 5), 1).astype(np.float16), noise((5,), 2).astype(np.float64)
    case("weights_f16_f64", 13, [("Cast", ["h"], ["hf"], {"to": 1}), ("Cast", ["d"], ["df"], {"to": 1}),
                                 ("Gemm", ["x", "hf", "df"], ["y"], {})], ((2, 4),), {"h": half, "d": double})
    case("weights_f64_typed", 9, [("Cast", ["d"], ["df"], {"to": 1}), ("Add", ["x", "df"], ["y"], {})], ((2, 5),), {"d": double}, typed=True)
    case("folded_weights", 13, [("Mul", ["w", "s"], ["ws"], {}), ("Transpose", ["ws"], ["wt"], {}), ("MatMul", ["x", "wt"], ["y"], {})],
         ((2, 4),), {"w": noise((5, 4), 1), "s": noise((5, 1), 2)})


def shapes():
    one("concat", (7, 11, 13), "Concat", None, {"axis": 1}, inputs=((1, 3, 5, 6), (1, 2, 5, 6)))
    one("concat_negative", (11, 21), "Concat", {"c": noise((2, 2), 3)}, {"axis": -1}, inputs=((2, 3), (2, 1)))
    one("slice", (7, 9), "Slice", None, {"axes": [1, 3], "starts": [1, -4], "ends": [3, 1000]})
    one("slice_no_axes", (9,), "Slice", None, {"starts": [0, 1, 2], "ends": [1, -1, 4]})
    one("slice", (10, 11, 13, 21), "Slice", {"b": ints(-4, 1), "e": ints(2**63 - 1, 3), "a": ints(3, 1)})
    one("slice_steps", (10, 13), "Slice", {"b": ints(0, 1), "e": ints(5, 6), "a": ints(2, 3), "s": ints(2, 3)})
    one("slice_reversed", (10, 13), "Slice", {"b": ints(-1, 4), "e": ints(-2**63, 0), "a": ints(-1, 2), "s": ints(-1, -2)})
    for opset in (7, 11):
        one("split", (opset,), "Split", None, {"axis": 1, "split": [1, 2]}, outputs=("y", "y1"))
    one("split_equal", (9,), "Split", None, {"axis": 3}, outputs=("y", "y1", "y2"))
    one("split", (13, 18), "Split", {"s": ints(1, 2)}, {"axis": -3}, outputs=("y", "y1"))
    one("split_uneven", (18, 21), "Split", None, {"axis": 2, "num_outputs": 3}, outputs=("y", "y1", "y2"))
    pads = [0, 1, 2, 0, 0, 2, 1, 3]
    one("pad", (7,), "Pad", None, {"pads": pads, "value": 0.5})
    one("pad", (11, 13, 18, 21), "Pad", {"p": ints(*pads), "v": np.array(0.5, np.float32)})
    one("pad_default", (11,), "Pad", {"p": ints(*pads)})
    one("pad_axes", (18,), "Pad", {"p": ints(1, 2, 0, 1), "a": ints(-1, 1)}, order=["x", "p", "", "a"])
    one("pad_negative", (11,), "Pad", {"p": ints(0, 0, -1, 2, 0, 0, 1, -2)})
    one("gather", (7, 11, 13), "Gather", {"i": ints(2, 0)}, {"axis": 1})
    one("gather_scalar", (11,), "Gather", {"i": np.array(-1, np.int64)}, {"axis": 3})
    one("gather_matrix", (13,), "Gather", {"i": np.array([[0, 4], [1, -1]], np.int64)}, {"axis": 2})
    one("reshape", (7, 13, 14, 21), "Reshape", {"s": ints(0, -1, 6)})
    one("reshape_typed", (8,), "Reshape", {"s": ints(15, 6)}, typed=True)
    for opset, axis in ((7, 1), (9, 0), (11, -1), (13, 4), (21, 2)):
        one(f"flatten_axis{axis if axis >= 0 else 'minus1'}", (opset,), "Flatten", None, {"axis": axis})
    one("transpose", (7, 13, 21), "Transpose", None, {"perm": [0, 2, 3, 1]})
    one("transpose_default", (13,), "Transpose", inputs=((2, 3, 4),))
    one("squeeze", (7,), "Squeeze", None, {"axes": [0, 2]}, inputs=((1, 3, 1, 2),))
    one("squeeze_all", (11, 13), "Squeeze", inputs=((1, 3, 1, 2),))
    one("squeeze", (13, 21), "Squeeze", {"a": ints(-2)}, inputs=((1, 3, 1, 2),))
    one("unsqueeze", (7, 11), "Unsqueeze", None, {"axes": [0, 3]}, inputs=((2, 3),))
    one("unsqueeze", (13, 21), "Unsqueeze", {"a": ints(-1, 1)}, inputs=((2, 3),))
    one("identity", (7, 16), "Identity")
    one("dropout", (7, 10), "Dropout", None, {"ratio": 0.5})
    one("dropout", (13,), "Dropout", {"r": np.array(0.5, np.float32)})
    for opset in (9, 13, 19):
        case("cast", opset, [("Cast", ["x"], ["h"], {"to": 11}), ("Cast", ["h"], ["y"], {"to": 1})])
    shuffle = {"a": ints(2, 2, 2, 3, 4), "b": ints(2, 4, 3, 4)}
    case("channel_shuffle", 13, [("Reshape", ["x", "a"], ["t"], {}), ("Transpose", ["t"], ["u"], {"perm": [0, 2, 1, 3, 4]}),
                                 ("Reshape", ["u", "b"], ["y"], {})], ((2, 4, 3, 4),), shuffle)


def shape_arithmetic():
    value = lambda v, t=np.int64: {"value": numpy_helper.from_array(np.array(v, t))}
    case("fold_view", 9, [  # x.view(x.size(0), -1) as old exporters write it
        ("Shape", ["x"], ["s"], {}), ("Constant", [], ["zero"], value(0)), ("Gather", ["s", "zero"], ["n"], {"axis": 0}),
        ("Unsqueeze", ["n"], ["nu"], {"axes": [0]}), ("Constant", [], ["minus"], value([-1])),
        ("Concat", ["nu", "minus"], ["target"], {"axis": 0}), ("Reshape", ["x", "target"], ["y"], {})])
    case("fold_floor", 11, [  # half the height, computed in float
        ("Shape", ["x"], ["s"], {}), ("Constant", [], ["two"], value(2)), ("Gather", ["s", "two"], ["h"], {"axis": 0}),
        ("Cast", ["h"], ["hf"], {"to": 1}), ("Constant", [], ["half"], value(0.5, np.float32)), ("Mul", ["hf", "half"], ["hh"], {}),
        ("Floor", ["hh"], ["hl"], {}), ("Cast", ["hl"], ["hi"], {"to": 7}), ("Constant", [], ["axis"], value([0])),
        ("Unsqueeze", ["hi"], ["end"], {"axes": [0]}), ("Constant", [], ["start"], value([0])), ("Constant", [], ["dim"], value([2])),
        ("Slice", ["x", "start", "end", "dim"], ["y"], {})])
    case("fold_where", 13, [  # broadcast target with -1 replaced
        ("Constant", [], ["t"], {"value_ints": [1, -1, 5, 6]}), ("Constant", [], ["m"], {"value_int": -1}), ("Equal", ["t", "m"], ["e"], {}),
        ("Shape", ["x"], ["s"], {}), ("Where", ["e", "s", "t"], ["u"], {}), ("Reshape", ["x", "u"], ["y"], {})])
    case("fold_shape_part", 15, [
        ("Shape", ["x"], ["s"], {"start": 2, "end": -1}), ("Shape", ["x"], ["t"], {"start": -1}), ("Concat", ["s", "t"], ["hw"], {"axis": 0}),
        ("ReduceProd", ["hw"], ["n"], {"keepdims": 1}), ("Constant", [], ["c"], {"value_ints": [1, 3]}),
        ("Concat", ["c", "n"], ["u"], {"axis": 0}), ("Reshape", ["x", "u"], ["y"], {})])
    case("fold_range", 11, [  # indices 0..4..2
        ("Constant", [], ["a"], value(0)), ("Constant", [], ["b"], value(5)), ("Constant", [], ["c"], value(2)),
        ("Range", ["a", "b", "c"], ["i"], {}), ("Gather", ["x", "i"], ["y"], {"axis": 2})])
    case("fold_constant_of_shape", 9, [
        ("ConstantOfShape", ["s"], ["w"], {"value": numpy_helper.from_array(np.array([0.5], np.float32))}), ("Mul", ["x", "w"], ["y"], {})],
        weights={"s": ints(3, 1, 1)})
    case("fold_expand", 8, [("Expand", ["w", "s"], ["v"], {}), ("Add", ["x", "v"], ["y"], {})],
         weights={"w": noise((3, 1, 1), 4), "s": ints(1, 1, 5, 1)})
    case("fold_float", 13, [  # a float subgraph of constants
        ("Sqrt", ["v"], ["r"], {}), ("Div", ["one", "r"], ["q"], {}), ("Reshape", ["q", "s"], ["p"], {}), ("Mul", ["x", "p"], ["y"], {})],
        weights={"v": np.abs(noise((3,), 1)) + np.float32(1), "one": np.array(1, np.float32), "s": ints(3, 1, 1)})
    case("fold_unused", 13, [("Relu", ["x"], ["y"], {}), ("NonZero", ["x"], ["unused"], {})])


def resizes():
    f = lambda *v: np.array(v, np.float32)
    empty = np.zeros(0, np.float32)
    x = ((1, 2, 4, 5),)
    for opset in (7, 9):
        for mode in ("nearest", "linear"):
            scales = [1.0, 1.0, 2.0, 3.0]
            if opset < 9:
                one(f"upsample_{mode}", (opset,), "Upsample", None, {"mode": mode, "scales": scales}, inputs=x)
            else:
                one(f"upsample_{mode}", (opset,), "Upsample", {"s": f(*scales)}, {"mode": mode}, inputs=x)
    for mode in ("nearest", "linear"):
        one(f"resize_{mode}", (10,), "Resize", {"s": f(1, 1, 2, 1.5)}, {"mode": mode}, inputs=x)
    one("resize_nearest_smaller", (10,), "Resize", {"s": f(1, 1, 0.5, 0.7)}, inputs=x)
    for coordinates in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
        for nearest in ("floor", "round_prefer_floor", "ceil", "round_prefer_ceil"):
            attributes = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
            one(f"resize_{coordinates}_{nearest}", (11,), "Resize", {"r": empty, "s": f(1, 1, 1.6, 0.6)}, attributes, inputs=x)
        one(f"resize_linear_{coordinates}", (11, 13), "Resize", {"r": empty, "s": f(1, 1, 2, 0.6)},
            {"mode": "linear", "coordinate_transformation_mode": coordinates}, inputs=x)
        one(f"resize_linear_sizes_{coordinates}", (13,), "Resize", {"n": ints(1, 2, 7, 3)},
            {"mode": "linear", "coordinate_transformation_mode": coordinates}, inputs=x, order=["x", "", "", "n"])
    one("resize_tf", (11,), "Resize", {"r": empty, "s": f(1, 1, 2, 1.5)},
        {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}, inputs=x)
    sizes = {"n": ints(1, 2, 7, 11)}
    one("resize_sizes", (11,), "Resize", {"r": empty, "s": empty, **sizes}, {"mode": "nearest", "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric"}, inputs=x)
    one("resize_sizes", (13, 19, 21), "Resize", sizes, {"mode": "nearest"}, inputs=x, order=["x", "", "", "n"])
    one("resize_double", (13, 18), "Resize", {"s": f(1, 1, 2, 2)}, {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor"}, inputs=x, order=["x", "", "s"])
    one("resize_axes", (18,), "Resize", {"s": f(2, 1.5)}, {"mode": "linear", "axes": [3, 2]}, inputs=x, order=["x", "", "s"])
    for policy in ("not_larger", "not_smaller"):
        one(f"resize_{policy}", (18,), "Resize", {"n": ints(7, 11)}, {"mode": "nearest", "axes": [2, 3], "keep_aspect_ratio_policy": policy},
            inputs=x, order=["x", "", "", "n"])
    one("resize_symmetric", (19,), "Resize", {"s": f(1, 1, 2, 1.2)}, {"mode": "nearest", "coordinate_transformation_mode": "half_pixel_symmetric"},
        inputs=x, order=["x", "", "s"])
    one("resize_channels", (13,), "Resize", {"s": f(1, 2, 1, 2)}, {"mode": "nearest"}, inputs=x, order=["x", "", "s"])


def main():
    HERE.mkdir(exist_ok=True)
    for old in HERE.glob("*.onnx"):
        old.unlink()
    for group in (convolutions, pools, activations, arithmetic, shapes, shape_arithmetic, resizes):
        group()
    (HERE / "values.f32").write_bytes(b"".join(STORE.values))
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in sorted(STORE.index.items()))
    (HERE / "index.json").write_text("{\n" + lines + "\n}\n")
    total = sum(p.stat().st_size for p in HERE.iterdir())
    print(f"{len(STORE.index)} cases, {total} bytes")


if __name__ == "__main__":
    main()
