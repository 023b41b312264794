"""Reads what bench/predictor_data writes, and the modelled truth of a pair of devices."""
import numpy as np

FEATURES = 38
FAMILIES = ["plain", "residual", "bottleneck", "inverted", "inception", "separable", "mixed", "real"]
# Device models of the set `zoo`, per run of six frames (lib/partition/device_model.cpp); known to every predictor, trees included.
BATCH, HEAD_START_US, TAIL_START_US = 6, 165.3, 148.7


class Net:
    """One network: features, edges, noise-free times per layer (us per run), cuts."""

    def __init__(self, words, at):
        header = words[at:at + 8].view(np.uint32)
        assert header[0] == np.frombuffer(b"NET1", np.uint32)[0], "not a data set of predictor_data"
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
        self.next = at

    @property
    def units(self):
        return len(self.cut) - 1


def load(path):
    words = np.fromfile(path, np.float32)
    nets, at = [], 0
    while at < len(words):
        nets.append(Net(words, at))
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


def noisy(net, seed, sigma=0.05):
    """Times of one noisy run: log-normal, per layer and device."""
    rng = np.random.default_rng([seed, net.seed])
    return net.us * np.exp(sigma * rng.standard_normal(net.us.shape))


def curves(net, us):
    """Stage times per cut in ms per frame: the head's with the link it waits for, the tail's."""
    head = np.concatenate([[0], np.cumsum(us[0])])[net.cut + 1]
    tail = np.concatenate([np.cumsum(us[1][::-1])[::-1], [0]])[net.cut + 1]
    d = (HEAD_START_US + head) / 1e3 / BATCH + net.link_ms
    g = (TAIL_START_US + tail) / 1e3 / BATCH
    d[0], g[-1] = 0, 0
    return d, g


def interval(net, us):
    d, g = curves(net, us)
    t = np.maximum(d, g)
    return np.where(net.legal, t, np.inf)


def by_curve(nets, us):
    """The cuts of least interval by times per layer."""
    return [int(interval(n, u).argmin()) for n, u in zip(nets, us)]


def mean_regret(nets, cuts):
    truth = [interval(n, n.us) for n in nets]
    return float(np.mean([t[k] / t.min() - 1 for t, k in zip(truth, cuts)]))
