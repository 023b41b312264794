#!/usr/bin/env python3
"""The same network in PyTorch: a child process of gpu_bench, one line in, one JSON line out.

    torch_tail.py [cuda|cpu]

    net FOLDER                      ->  {} or {"missing": why}. net.json, weights.f32 and frames.f32 as gpu/torch_peer.cpp writes them
    prepare VARIANT BATCH SECONDS   ->  {} or {"missing": why}. Warm afterwards; the results of the first BATCH frames in FOLDER/results.f32
    run COUNT                       ->  {"ms": [...]}   float32 frames in pinned host memory to float32 results in pinned host memory
    quit

First line out: {"version": ...} or {"missing": why}. Variants: eager, graph (eager, captured as a CUDA graph), compile (torch.compile,
max-autotune, frozen weights). On a GPU: FP16, channels last, cuDNN's own benchmark on. On a CPU: float32, to check this file against the library.
The network becomes straight-line Python with batch normalisation folded into convolutions: less to do for eager than a model of modules has.
"""
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print is no answer


def reply(value):
    answers.write(json.dumps(value) + "\n")
    answers.flush()


try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    reply({"missing": f"{error}; pip install torch"})
    sys.exit(0)


class Unsupported(Exception):
    pass


class Net(torch.nn.Module):
    """A network in the terms of splitcnn/graph.hpp as one forward function, written out and compiled by Python once."""

    def __init__(self, net, weights):
        super().__init__()
        self.net, self.lines = net, []
        self.shape = [t["shape"] for t in net["tensors"]]
        self.value = {}  # constants
        for i, t in enumerate(net["tensors"]):
            if "offset" in t:
                count = 1
                for d in t["shape"]:
                    count *= d
                self.value[i] = weights[t["offset"]:t["offset"] + count].reshape(t["shape"])
        self.readers = {}
        for n in net["nodes"]:
            for i in n["inputs"]:
                self.readers[i] = self.readers.get(i, 0) + 1
        self.fold()
        for n in net["nodes"]:
            self.emit(n)
        inputs = ", ".join(f"t{i}" for i in net["inputs"])
        outputs = ", ".join(f"t{i}.float()" for i in net["outputs"])
        cast = [f"t{i} = t{i}.to(self.dtype{', memory_format=torch.channels_last' if len(self.shape[i]) == 4 else ''})" for i in net["inputs"]]
        body = "\n    ".join(cast + self.lines + [f"return ({outputs},)"])
        space = {"torch": torch, "F": F}
        exec(f"def forward(self, {inputs}):\n    {body}\n", space)
        self.__class__ = type("WrittenNet", (Net,), {"forward": space["forward"]})
        self.value = None

    def fold(self):
        """Batch normalisation into the convolution before it, in double."""
        writers = {n["outputs"][0]: n for n in self.net["nodes"]}
        kept = []
        for n in self.net["nodes"]:
            conv = writers.get(n["inputs"][0])
            if n["op"] != "batch_norm":
                kept.append(n)
                continue
            factor, shift = self.affine(n)
            if conv is None or conv["op"] != "conv" or self.readers[n["inputs"][0]] != 1 or n["inputs"][0] in self.net["outputs"]:
                kept.append(n)
                continue
            w = self.value[conv["inputs"][1]].double() * factor.reshape(-1, 1, 1, 1)
            b = self.value[conv["inputs"][2]].double() if len(conv["inputs"]) > 2 else torch.zeros_like(factor)
            conv["inputs"] = [conv["inputs"][0], self.constant(w), self.constant(b * factor + shift)]
            conv["outputs"] = n["outputs"]
            writers[n["outputs"][0]] = conv
        self.net["nodes"] = kept

    def affine(self, n):
        gamma, beta, mean, variance = (self.value[i].double() for i in n["inputs"][1:])
        factor = gamma / torch.sqrt(variance + n["alpha"])
        return factor, beta - mean * factor

    def constant(self, value):
        self.value[len(self.shape)] = value.float()
        self.shape.append(list(value.shape))
        return len(self.shape) - 1

    def ref(self, i):
        if i not in self.value:
            return f"t{i}"
        if not hasattr(self, f"w{i}"):
            self.register_parameter(f"w{i}", torch.nn.Parameter(self.value[i].clone(), requires_grad=False))
        return f"self.w{i}"

    def padded(self, x, pads, value):
        """What F.pad does before a window whose two sides differ; the padding that is left for the window itself."""
        top, left, bottom, right = pads
        if top == bottom and left == right:
            return x, (top, left)
        return f"F.pad({x}, ({left}, {right}, {top}, {bottom}), value={value})", (0, 0)

    def emit(self, n):
        method = getattr(self, "op_" + n["op"], None)
        if method is None:
            raise Unsupported(f"operator {n['op']} is not translated")
        text = method(n, *[self.ref(i) for i in n["inputs"]])
        self.lines.append(", ".join(f"t{o}" for o in n["outputs"]) + " = " + text)

    def op_conv(self, n, x, w, b="None"):
        x, pad = self.padded(x, n["pads"], 0.0)
        return f"F.conv2d({x}, {w}, {b}, {tuple(n['stride'])}, {pad}, {tuple(n['dilation'])}, {n['groups']})"

    def op_batch_norm(self, n, x, *_):
        factor, shift = self.affine(n)
        shape = [1, -1] + [1] * (len(self.shape[n["inputs"][0]]) - 2)
        return f"{x} * {self.ref(self.constant(factor.reshape(shape)))} + {self.ref(self.constant(shift.reshape(shape)))}"

    def op_relu(self, n, x):
        return f"F.relu({x})"

    def op_clip(self, n, x):
        low, high = n["alpha"], n["beta"]
        if (low, high) == (0, 6):
            return f"F.relu6({x})"
        return x if low is None and high is None else f"torch.clamp({x}, {low}, {high})"

    def op_leaky_relu(self, n, x):
        return f"F.leaky_relu({x}, {n['alpha']})"

    def op_prelu(self, n, x, slope):
        return f"torch.where({x} < 0, {x} * {slope}, {x})"

    def op_hard_sigmoid(self, n, x):
        return f"torch.clamp({x} * {n['alpha']} + {n['beta']}, 0, 1)"

    def op_hard_swish(self, n, x):
        return f"F.hardswish({x})"

    def op_sigmoid(self, n, x):
        return f"torch.sigmoid({x})"

    def op_tanh(self, n, x):
        return f"torch.tanh({x})"

    def op_exp(self, n, x):
        return f"torch.exp({x})"

    def op_sqrt(self, n, x):
        return f"torch.sqrt({x})"

    def op_max_pool(self, n, x):
        x, pad = self.padded(x, n["pads"], "float('-inf')")
        return f"F.max_pool2d({x}, {tuple(n['kernel'])}, {tuple(n['stride'])}, {pad}, {tuple(n['dilation'])}, {n['ceil_mode']})"

    def op_average_pool(self, n, x):
        if tuple(n["dilation"]) != (1, 1) or n["pads"][:2] != n["pads"][2:]:
            raise Unsupported("an average pool with dilation or one-sided padding is not translated")
        return f"F.avg_pool2d({x}, {tuple(n['kernel'])}, {tuple(n['stride'])}, {tuple(n['pads'][:2])}, {n['ceil_mode']}, {n['count_include_pad']})"

    def op_global_average_pool(self, n, x):
        return f"F.adaptive_avg_pool2d({x}, 1)"

    def op_reduce_mean(self, n, x):
        keep = len(self.shape[n["outputs"][0]]) == len(self.shape[n["inputs"][0]])
        return f"{x}.mean({n['axes']}, keepdim={keep})"

    def op_add(self, n, a, b):
        return f"{a} + {b}"

    def op_sub(self, n, a, b):
        return f"{a} - {b}"

    def op_mul(self, n, a, b):
        return f"{a} * {b}"

    def op_div(self, n, a, b):
        return f"{a} / {b}"

    def op_concat(self, n, *x):
        return f"torch.cat([{', '.join(x)}], {n['axes'][0]})"

    def op_slice(self, n, x):
        parts, shape = [], self.shape[n["inputs"][0]]
        for d, (begin, end, step) in enumerate(zip(n["begins"], n["ends"], n["steps"])):
            whole = (begin, end, step) == (0, shape[d], 1)
            if step < 1 or (d == 0 and not whole):
                raise Unsupported("a slice backwards or of the batch is not translated")
            parts.append(":" if whole else f"{begin}:{end}:{step}")
        return f"{x}[{', '.join(parts)}]"

    def op_split(self, n, x):
        sizes = [self.shape[o][n["axes"][0]] for o in n["outputs"]]
        return f"torch.split({x}, {sizes}, {n['axes'][0]})"

    def op_pad(self, n, x):
        pads = [v for d in reversed(range(len(n["begins"]))) for v in (n["begins"][d], n["ends"][d])]
        return f"F.pad({x}, {pads}, value={n['alpha']})"

    def op_reshape(self, n, x):
        shape = self.shape[n["outputs"][0]]
        if not shape or shape[0] != 1 or self.shape[n["inputs"][0]][:1] != [1]:
            raise Unsupported(f"a reshape to {shape} has no batch dimension")
        return f"{x}.reshape({x}.shape[0], {', '.join(str(d) for d in shape[1:])})"

    def op_transpose(self, n, x):
        return f"{x}.permute({n['axes']})"

    def op_gemm(self, n, a, b, c=None):
        a = f"{a}.t()" if n["transpose_a"] else a
        if c and n["alpha"] == 1 and n["beta"] == 1 and len(self.shape[n["inputs"][2]]) == 1:
            if not n["transpose_b"] and n["inputs"][1] in self.value:
                b = self.ref(self.constant(self.value[n["inputs"][1]].t().contiguous()))
            elif not n["transpose_b"]:
                b = f"{b}.t()"
            return f"F.linear({a}, {b}, {c})"
        product = f"{n['alpha']} * ({a} @ {b}{'.t()' if n['transpose_b'] else ''})"
        return product + (f" + {n['beta']} * {c}" if c else "")

    def op_matmul(self, n, a, b):
        return f"torch.matmul({a}, {b})"

    def op_softmax(self, n, x):
        return f"F.softmax({x}, {n['axes'][0]})"

    def op_log_softmax(self, n, x):
        return f"F.log_softmax({x}, {n['axes'][0]})"

    def op_lrn(self, n, x):
        return f"F.local_response_norm({x}, {n['size']}, {n['alpha']}, {n['beta']}, {n['bias']})"

    def op_identity(self, n, x):
        return x


def read(path):
    count = os.path.getsize(path) // 4
    return torch.from_file(path, size=count, dtype=torch.float32) if count else torch.empty(0)


class Peer:
    def __init__(self, device):
        self.device, self.folder = device, None
        self.step = None
        self.synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None

    def open(self, folder):
        self.clear()
        self.model = None
        with open(os.path.join(folder, "net.json")) as file:
            net = json.load(file)
        self.folder = folder
        model = Net(net, read(os.path.join(folder, "weights.f32")))
        model.dtype = torch.float16 if self.device == "cuda" else torch.float32
        self.model = model.to(self.device, model.dtype).to(memory_format=torch.channels_last).eval()
        shapes = [net["tensors"][i]["shape"] for i in net["inputs"]]
        sizes = [torch.Size(s).numel() for s in shapes]
        rows = read(os.path.join(folder, "frames.f32")).reshape(net["frames"], sum(sizes))
        self.frames = [p.reshape(-1, *s[1:]).clone() for p, s in zip(torch.split(rows, sizes, 1), shapes)]

    def clear(self):
        self.step = self.body = self.captured = None
        gc.collect()
        if hasattr(torch, "_dynamo") and "torch._dynamo" in sys.modules:
            torch._dynamo.reset()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def buffers(self, batch, whole):
        """Host memory on both sides, device memory between, and what copies through them."""
        def pin(t):
            return t.contiguous().pin_memory() if self.device == "cuda" else t.contiguous()
        self.host_in = [pin(f[:batch]) for f in self.frames]
        self.staged = [h.to(self.device) for h in self.host_in]
        with torch.no_grad():
            self.host_out = [pin(torch.full(tuple(y.shape), float("nan"))) for y in self.model(*self.staged)]

        def body():
            for s, h in zip(self.staged, self.host_in):
                s.copy_(h, non_blocking=True)
            for h, y in zip(self.host_out, whole(*self.staged)):
                h.copy_(y, non_blocking=True)
        return body

    def prepare(self, variant, batch):
        self.clear()
        whole = self.model
        if variant == "compile":
            if not hasattr(torch, "compile"):
                raise Unsupported(f"torch {torch.__version__} has no torch.compile")
            importlib.import_module("torch._inductor.config").freezing = True
            whole = torch.compile(self.model, mode="max-autotune", fullgraph=True, dynamic=False)
        if variant == "graph" and self.device != "cuda":
            raise Unsupported("CUDA graphs need a GPU")
        body = self.buffers(batch, whole)
        if variant == "compile" and hasattr(torch._dynamo, "mark_static_address"):
            for s in self.staged:
                torch._dynamo.mark_static_address(s)
        if variant == "graph":
            body = self.capture(body)

        def step():
            body()
            self.synchronize()
        self.step = step
        for _ in range(10 if self.device == "cuda" else 1):
            step()
        results = torch.cat([h.reshape(batch, -1) for h in self.host_out], 1).contiguous()
        with open(os.path.join(self.folder, "results.f32"), "wb") as file:
            file.write(ctypes.string_at(results.data_ptr(), results.numel() * 4))

    def capture(self, body):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                body()
        torch.cuda.current_stream().wait_stream(side)
        self.captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.captured):
            body()
        return self.captured.replay

    def run(self, count):
        times = []
        try:
            for _ in range(count):
                start = time.perf_counter_ns()
                self.step()
                times.append((time.perf_counter_ns() - start) / 1e6)
        except Exception as error:
            return {"missing": f"{type(error).__name__}: {error}"[:600]}
        return {"ms": times}


def within(seconds, work):
    """Runs it; after so many seconds it is given up, and a little later the process, which may hang in foreign code."""
    def late(*_):
        raise TimeoutError(f"not ready within {seconds} s")

    def end():
        reply({"missing": f"not ready within {seconds} s, and did not stop; the peer was ended"})
        os._exit(1)
    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    last = threading.Timer(seconds + 20, end)
    last.daemon = True
    last.start()
    try:
        work()
        return {}
    except Exception as error:  # whatever it is, the bench says so and goes on without
        return {"missing": f"{type(error).__name__}: {error}"[:600]}
    finally:
        signal.alarm(0)
        last.cancel()


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        reply({"missing": f"torch {torch.__version__} sees no GPU"})
        return
    torch.backends.cudnn.benchmark = True
    peer = Peer(device)
    reply({"version": torch.__version__})
    with torch.no_grad():
        for line in sys.stdin:
            words = line.split(None, 1) or [""]
            if words[0] == "net":
                reply(within(120, lambda: peer.open(words[1].strip())))
            elif words[0] == "prepare":
                variant, batch, seconds = words[1].split()
                reply(within(max(int(seconds), 1), lambda: peer.prepare(variant, int(batch))))
            elif words[0] == "run":
                reply(peer.run(int(words[1])))
            elif words[0] == "quit":
                break
    answers.flush()


if __name__ == "__main__":
    main()
