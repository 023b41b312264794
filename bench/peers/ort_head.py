#!/usr/bin/env python3
"""The same network in ONNX Runtime: a child process of head_bench, one line in, one JSON line out.

    ort_head.py MODEL.onnx FOLDER [THREADS]      (head_bench starts it; the float model has one NCHW image input)

Makes the INT8 variants that a user could make of the float model (QDQ form, all of them take the same 8-bit N,H,W,C frame and give float
results), loads each with every optimisation, one thread, no spinning, and preallocated outputs, then serves:
    run VARIANT COUNT   ->  {"ms": [...]}   time of each run
    quit
First line out: {"version": ..., "variants": [{"name", "valid", "qlinear_convs", "float_convs", ...}]} or {"missing": reason}.
Activations get their ranges from the float model on seeded noise: good for speed, meaningless for accuracy.
"""
import json
import os
import sys
import time


def reply(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    reply({"missing": f"{error}; pip install onnxruntime onnx"})
    sys.exit(0)


class Net:
    """The float graph with batch normalisation folded, as lists that are easy to rewrite."""

    def __init__(self, path):
        self.model = onnx.load(path)
        graph = self.model.graph
        self.weights = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.nodes = list(graph.node)
        self.input = graph.input[0].name
        self.shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
        self.outputs = [o.name for o in graph.output]
        self.fold()

    def readers(self, name):
        return [n for n in self.nodes if name in n.input]

    def fold(self):
        writers = {o: n for n in self.nodes for o in n.output}
        for bn in [n for n in self.nodes if n.op_type == "BatchNormalization"]:
            conv = writers.get(bn.input[0])
            if conv is None or conv.op_type != "Conv" or len(self.readers(bn.input[0])) != 1:
                continue
            gamma, beta, mean, var = (self.weights[i].astype(np.float64) for i in bn.input[1:5])
            epsilon = next((a.f for a in bn.attribute if a.name == "epsilon"), 1e-5)
            factor = gamma / np.sqrt(var + epsilon)
            w = self.weights[conv.input[1]]
            b = self.weights[conv.input[2]] if len(conv.input) == 3 else np.zeros(w.shape[0])
            name = conv.output[0] + "_folded"
            self.weights[name + "_w"] = (w * factor.reshape(-1, 1, 1, 1)).astype(np.float32)
            self.weights[name + "_b"] = ((b - mean) * factor + beta).astype(np.float32)
            del conv.input[1:]
            conv.input.extend([name + "_w", name + "_b"])
            conv.output[0] = bn.output[0]
            writers[bn.output[0]] = conv
            self.nodes.remove(bn)
        for n in [n for n in self.nodes if n.op_type in ("Identity", "Dropout") and n.output[0] not in self.outputs]:
            for m in self.nodes:
                for i, name in enumerate(m.input):
                    if name == n.output[0]:
                        m.input[i] = n.input[0]
            self.nodes.remove(n)

    def build(self, nodes, weights, inputs, opset=None):
        used = {i for n in nodes for i in n.input}
        graph = helper.make_graph(
            nodes, "net", inputs, [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in self.outputs],
            [numpy_helper.from_array(np.asarray(w, order="C"), n) for n, w in weights.items() if n in used])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset or max(o.version for o in self.model.opset_import))])
        model.ir_version = 8
        return model

    def frame_input(self):
        n, c, h, w = self.shape
        return helper.make_tensor_value_info("frame", TensorProto.UINT8, [n, h, w, c])

    def ranges(self):
        """Smallest and largest value of every activation over some noise."""
        names = [o for n in self.nodes for o in n.output if o]
        model = self.build(self.nodes, self.weights, [helper.make_tensor_value_info(self.input, TensorProto.FLOAT, self.shape)])
        del model.graph.output[:]
        model.graph.output.extend(helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in names)
        session = ort.InferenceSession(model.SerializeToString(), options(), providers=["CPUExecutionProvider"])
        seen = {}
        random = np.random.default_rng(1)
        for _ in range(2):
            frame = random.integers(0, 256, self.shape).astype(np.float32)
            for name, value in zip(names, session.run(names, {self.input: (frame - 128) / 128})):
                low, high = seen.get(name, (0.0, 0.0))
                seen[name] = (min(low, float(value.min())), max(high, float(value.max())))
        seen[self.input] = (-1.0, 127 / 128)
        return seen


def options(save=None):
    o = ort.SessionOptions()
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    o.intra_op_num_threads = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    o.inter_op_num_threads = 1
    o.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    o.add_session_config_entry("session.intra_op.allow_spinning", "0")
    o.add_session_config_entry("session.inter_op.allow_spinning", "0")
    o.log_severity_level = 3
    if save:
        o.optimized_model_filepath = save
    return o


def float_model(net):
    """The frame through (x - 128) / 128 into the float network."""
    head = [helper.make_node("Cast", ["frame"], ["frame_f"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["frame_f"], ["frame_t"], perm=[0, 3, 1, 2]),
            helper.make_node("Sub", ["frame_t", "half"], ["frame_s"]),
            helper.make_node("Mul", ["frame_s", "step"], [net.input])]
    weights = dict(net.weights, half=np.float32(128), step=np.float32(1 / 128))
    return net.build(head + net.nodes, weights, [net.frame_input()])


CLAMPS = ("Relu", "Clip")
INTEGER = ("Conv", "Gemm", "Add", "Mul", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Relu", "Clip", "LeakyRelu", "Flatten", "Reshape", "ReduceMean")
SAME = ("MaxPool", "Flatten", "Reshape")  # their result keeps the scale of what they read


class Quantiser:
    """One QDQ variant: activations of `kind`, weights per tensor or channel, clamps dropped (the range does their work) or kept."""

    def __init__(self, net, seen, kind, per_channel, drop):
        self.net, self.seen, self.kind, self.per_channel, self.drop = net, dict(seen), kind, per_channel, drop
        self.out, self.weights, self.scale, self.real = [], {}, {}, {}

    def set_scale(self, name, source=None):
        if source is not None and source in self.scale:
            self.scale[name] = self.scale[source]
            return
        low, high = self.seen[name]
        if self.kind == np.uint8:
            step = max((high - low) / 255, 1e-8)
            self.scale[name] = (np.float32(step), np.uint8(np.clip(round(-low / step), 0, 255)))
        else:
            self.scale[name] = (np.float32(max(-low, high, 1e-8) / 127), np.int8(0))

    def constant(self, name, value):
        self.weights[name] = np.asarray(value)
        return name

    def pair(self, source, name, scale):
        """QuantizeLinear and DequantizeLinear behind `source`; gives the name to read."""
        s, z = self.constant(name + "_s", scale[0]), self.constant(name + "_z", scale[1])
        self.out.append(helper.make_node("QuantizeLinear", [source, s, z], [name + "_q"], name + "_Q"))
        self.out.append(helper.make_node("DequantizeLinear", [name + "_q", s, z], [name + "_d"], name + "_D"))
        return name + "_d"

    def weight(self, node, x_step):
        w = self.net.weights[node.input[1]]
        if node.op_type == "Gemm" and not next((a.i for a in node.attribute if a.name == "transB"), 0):
            axis = 1
        else:
            axis = 0
        rest = tuple(d for d in range(w.ndim) if d != axis)
        top = np.abs(w).max(axis=rest) if self.per_channel else np.abs(w).max()
        step = np.maximum(top / 127, 1e-10).astype(np.float32)
        shaped = step.reshape([-1 if d == axis else 1 for d in range(w.ndim)]) if self.per_channel else step
        key = node.output[0]
        s = self.constant(key + "_ws", step)
        z = self.constant(key + "_wz", np.zeros(step.shape, np.int8))
        q = self.constant(key + "_wq", np.clip(np.round(w / shaped), -127, 127).astype(np.int8))
        attributes = {"axis": axis} if self.per_channel else {}
        self.out.append(helper.make_node("DequantizeLinear", [q, s, z], [key + "_wd"], **attributes))
        names = [key + "_wd"]
        if len(node.input) == 3:
            b = self.net.weights[node.input[2]].astype(np.float64)
            unit = (np.float32(x_step) * step).astype(np.float32)
            bs, bz = self.constant(key + "_bs", unit), self.constant(key + "_bz", np.zeros(step.shape, np.int32))
            bq = self.constant(key + "_bq", np.clip(np.round(b / unit), -2**31, 2**31 - 1).astype(np.int32))
            attributes = {"axis": 0} if self.per_channel else {}
            self.out.append(helper.make_node("DequantizeLinear", [bq, bs, bz], [key + "_bd"], **attributes))
            names.append(key + "_bd")
        return names

    def run(self):
        net = self.net
        if self.kind == np.uint8:  # the frame itself is the quantised input: 128 is zero, a step is 1/128
            self.scale[net.input] = (np.float32(1 / 128), np.uint8(128))
            s, z = self.constant("in_s", self.scale[net.input][0]), self.constant("in_z", self.scale[net.input][1])
            self.out.append(helper.make_node("Transpose", ["frame"], ["frame_t"], perm=[0, 3, 1, 2]))
            self.out.append(helper.make_node("DequantizeLinear", ["frame_t", s, z], ["in_d"]))
            self.real[net.input] = "in_d"
        else:
            h, st = self.constant("half", np.float32(128)), self.constant("step", np.float32(1 / 128))
            self.out += [helper.make_node("Transpose", ["frame"], ["frame_t"], perm=[0, 3, 1, 2]),
                         helper.make_node("Cast", ["frame_t"], ["frame_f"], to=TensorProto.FLOAT),
                         helper.make_node("Sub", ["frame_f", h], ["frame_s"]), helper.make_node("Mul", ["frame_s", st], ["in_f"])]
            self.scale[net.input] = (np.float32(1 / 128), np.int8(0))
            self.real[net.input] = self.pair("in_f", "in", self.scale[net.input])
        for node in net.nodes:
            self.add(node)
        return net.build(self.out, self.weights, [net.frame_input()], 13)

    def add(self, node):
        net, result = self.net, node.output[0]
        if node.op_type not in INTEGER:
            self.out.append(helper.make_node(node.op_type, [self.real.get(i, i) for i in node.input], node.output))
            self.out[-1].attribute.extend(node.attribute)
            for i in node.input:
                if i in net.weights:
                    self.weights[i] = net.weights[i]
            return
        source = node.input[0]
        clamp = [n for n in net.readers(result) if n.op_type in CLAMPS]
        follows = len(clamp) == 1 and len(net.readers(result)) == 1 and result not in net.outputs
        if node.op_type in CLAMPS and node.output[0] in self.real:
            return  # its range was given to the node before it
        raw = result + "_f"
        inputs = [self.real[source]]
        if node.op_type in ("Conv", "Gemm"):
            inputs += self.weight(node, self.scale[source][0])
        else:
            for i in node.input[1:]:
                if i in net.weights:
                    self.weights[i] = net.weights[i]
                inputs.append(self.real.get(i, i))
        made = helper.make_node(node.op_type, inputs, [raw], node.name)
        made.attribute.extend(node.attribute)
        self.out.append(made)
        if follows and node.op_type in ("Conv", "Gemm", "Add"):
            after = clamp[0]
            if not self.drop:
                for i in after.input[1:]:
                    if i in net.weights:
                        self.weights[i] = net.weights[i]
                self.out.append(helper.make_node(after.op_type, [raw] + list(after.input[1:]), [raw + "_c"], after.name))
                self.out[-1].attribute.extend(after.attribute)
                raw = raw + "_c"
            result = after.output[0]
            if after.op_type == "Clip":
                self.seen[result] = (0.0, 6.0)
        self.set_scale(result, source if node.op_type in SAME else None)
        self.real[result] = self.pair(raw, result, self.scale[result])
        if result in net.outputs:  # the caller wants floats under the model's name
            self.out[-1].output[0] = result
            self.real[result] = result


class Session:
    def __init__(self, name, model, folder, net):
        self.name = name
        path, optimised = os.path.join(folder, name + ".onnx"), os.path.join(folder, name + ".opt.onnx")
        onnx.save(model, path)
        start = time.perf_counter()
        self.session = ort.InferenceSession(path, options(optimised), providers=["CPUExecutionProvider"])
        self.load_ms = (time.perf_counter() - start) * 1000
        ops = [n.op_type for n in onnx.load(optimised).graph.node]
        self.ops = {o: ops.count(o) for o in sorted(set(ops))}
        convs = sum(n.op_type == "Conv" for n in net.nodes)
        self.qlinear = ops.count("QLinearConv")
        self.float_convs = ops.count("Conv") + ops.count("FusedConv") + ops.count("NhwcFusedConv")
        self.valid = name == "f32" or self.qlinear == convs
        n, c, h, w = net.shape
        self.frame = np.random.default_rng(2).integers(0, 256, (n, h, w, c), dtype=np.uint8)
        self.binding = self.session.io_binding()
        self.binding.bind_cpu_input("frame", self.frame)
        self.results = []
        for o, value in zip(self.session.get_outputs(), self.session.run(None, {"frame": self.frame})):
            result = ort.OrtValue.ortvalue_from_numpy(np.zeros_like(value))
            self.results.append(result)
            self.binding.bind_ortvalue_output(o.name, result)

    def run(self, count):
        times = []
        for _ in range(count):
            start = time.perf_counter_ns()
            self.session.run_with_iobinding(self.binding)
            times.append((time.perf_counter_ns() - start) / 1e6)
        return times

    def describe(self):
        return {"name": self.name, "valid": self.valid, "qlinear_convs": self.qlinear, "float_convs": self.float_convs, "load_ms": round(self.load_ms, 1)}


def variants(path, folder):
    seen = Net(path).ranges()
    yield Session("f32", float_model(Net(path)), folder, Net(path))
    clips = any(n.op_type == "Clip" for n in Net(path).nodes)
    for kind, name in ((np.uint8, "u8"), (np.int8, "s8")):
        for per_channel in (False, True):
            for drop in (False, True):
                full = f"{name}_s8_{'channel' if per_channel else 'tensor'}_{'clip' if clips else 'relu'}_{'removed' if drop else 'kept'}"
                net = Net(path)
                yield Session(full, Quantiser(net, seen, kind, per_channel, drop).run(), folder, net)


def main():
    path, folder = sys.argv[1:3]
    try:
        sessions = list(variants(path, folder))
    except Exception as error:  # whatever it is, the bench says so and goes on without the peer
        reply({"missing": f"{type(error).__name__}: {error}"[:600]})
        return
    reply({"version": ort.__version__, "variants": [s.describe() for s in sessions]})
    for line in sys.stdin:
        words = line.split()
        if words[:1] == ["run"]:
            reply({"ms": sessions[int(words[1])].run(int(words[2]))})
        elif words[:1] == ["quit"]:
            return


if __name__ == "__main__":
    main()
