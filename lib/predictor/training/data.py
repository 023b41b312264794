"""Reads what predictor_data and predictor_measure write: networks with the times of a pair of devices."""
import json
import lzma

import numpy as np

FEATURES = 42
FAMILIES = ["plain", "residual", "bottleneck", "inverted", "inception", "separable", "mixed", "real"]
NET1, NET2 = (int(np.frombuffer(m, np.uint32)[0]) for m in (b"NET1", b"NET2"))


class Pair:
    """What the card beside a data set says of the two devices; known to every predictor, trees included."""

    def __init__(self, path):
        with open(f"{path.removesuffix('.xz')}.json") as file:
            self.card = json.load(file)
        self.measured = self.card["truth"] == "measured"
        self.batch, self.noise = self.card["batch"], self.card["training_noise"]
        self.start_us = [self.card[d]["start_us"] for d in ("head", "tail")]


class Net:
    """One network: features, edges, times per layer (us per run: noise-free if modelled), cuts; if measured, also the cuts that were timed
    as they are (`direct`) with the stage times of both halves (`halves`: half, device, cut), and all stages by the hooks (`stages_ms`)."""

    def __init__(self, words, at, pair):
        self.pair = pair
        header = words[at:at + 8].view(np.uint32)
        assert header[0] in (NET1, NET2), "not a data set of predictor_data or predictor_measure"
        self.seed, self.family = int(header[1]), int(header[2])
        self.skeleton = int(header[3]) | int(header[4]) << 32
        n, e, k = (int(v) for v in header[5:8])
        self.n, at = n, at + 8

        def take(count, kind):
            nonlocal at
            at += count
            return words[at - count:at].view(kind)

        self.x = take(n * FEATURES, np.float32).reshape(n, FEATURES)
        self.edges = take(e * 2, np.int32).reshape(e, 2)
        self.us = np.stack([take(n, np.float32), take(n, np.float32)]).astype(np.float64)
        self.base = np.stack([take(n, np.float32), take(n, np.float32)]).astype(np.float64)
        self.cut = take(k, np.int32)
        self.link_ms = take(k, np.float32).astype(np.float64)
        self.legal = take(k, np.int32) != 0
        self.direct = None
        if header[0] == NET2:
            self.spread = take(2, np.float32)
            self.stages_ms = take(2 * k, np.float32).reshape(2, k).astype(np.float64)
            timed = int(take(1, np.uint32)[0])
            cuts, ms = take(timed, np.int32), take(4 * timed, np.float32)
            if timed:
                self.direct, self.halves = cuts, ms.reshape(2, 2, timed).astype(np.float64)
        self.next = at

    @property
    def units(self):
        return len(self.cut) - 1


def load(path):
    with (lzma.open if path.endswith(".xz") else open)(path, "rb") as file:
        words, pair = np.frombuffer(bytearray(file.read()), np.float32), Pair(path)
    nets, at = [], 0
    while at < len(words):
        nets.append(Net(words, at, pair))
        at = nets[-1].next
    return nets


def split(nets):
    """By topology: networks of one skeleton are all in one set. 60 % to train on, 20 % for choices and intervals, 20 % to test on."""
    parts = {"train": [], "calibrate": [], "test": []}
    for net in nets:
        bucket = (net.skeleton ^ net.skeleton >> 33) % 100
        parts["train" if bucket < 60 else "calibrate" if bucket < 80 else "test"].append(net)
    return parts


def training_nets(parts, seed, most=0, without_family=None):
    """What a training sees: networks of the training part, without a family or a random `most` of them where asked."""
    train = [n for n in parts["train"] if FAMILIES[n.family] != without_family]
    return [train[i] for i in np.random.default_rng(seed).permutation(len(train))[:most]] if most else train


def noisy(net, seed):
    """Times of one noisy run: log-normal, per layer and device. Measured times have their own noise."""
    if net.pair.noise == 0:
        return net.us
    rng = np.random.default_rng([seed, net.seed])
    return net.us * np.exp(net.pair.noise * rng.standard_normal(net.us.shape))


def curves(net, us):
    """Stage times per cut in ms per frame: the head's with the link it waits for, the tail's."""
    head = np.concatenate([[0], np.cumsum(us[0])])[net.cut + 1]
    tail = np.concatenate([np.cumsum(us[1][::-1])[::-1], [0]])[net.cut + 1]
    d = (net.pair.start_us[0] + head) / 1e3 / net.pair.batch + net.link_ms
    g = (net.pair.start_us[1] + tail) / 1e3 / net.pair.batch
    d[0], g[-1] = 0, 0
    return d, g


def interval(net, us):
    d, g = curves(net, us)
    t = np.maximum(d, g)
    return np.where(net.legal, t, np.inf)


def truth(net):
    """Intervals per cut: measured curves may fall where a stage's last map is large, sums of times per layer cannot."""
    if not net.pair.measured:
        return interval(net, net.us)
    return np.where(net.legal, net.stages_ms.max(0), np.inf)


def stage_halves(net):
    """Stage times per cut by either half of a network that was timed directly: [half][device, cut]. Cuts that were not: the curves',
    scaled to those that were."""
    t, out = truth(net), []
    for timed in net.halves:
        stages = net.stages_ms * np.median(timed.max(0) / t[net.direct])
        stages[:, net.direct] = timed
        out.append(stages)
    return out


def halves(net):
    """Intervals per cut by either half."""
    return [np.where(net.legal, stages.max(0), np.inf) for stages in stage_halves(net)]


def views(net):
    """Pairs of intervals per cut: the best cut is by the first, its regret by the second. The same where the truth has no noise."""
    if not net.pair.measured:
        return [(truth(net),) * 2]
    a, b = halves(net)
    return [(a, b), (b, a)]


def by_curve(nets, us):
    """The cuts of least interval by times per layer."""
    return [int(interval(n, u).argmin()) for n, u in zip(nets, us)]


def mean_regret(nets, cuts):
    return float(np.mean([t[k] / t.min() - 1 for t, k in zip(map(truth, nets), cuts)]))
