"""What a predictor has to beat, fitted on the same networks, features, noise, starts and link as train.py: writes a file for evaluate.py.

    baselines.py DATA --seed 1 -o trees1.pkl [--nets N] [--without-family F]

trees: gradient-boosted trees per layer and device, summed along the network; target, number of leaves and rate are chosen by the regret on
the calibration set. linear: non-negative least squares per layer type on {1, MACs, elements, weights} (after Neurosurgeon). flops: the
cut behind a share of the MACs that is best in training. whole-trees: trees over one row per network (what the paper found inaccurate).
"""
import argparse
import pickle
import time

import numpy as np
from scipy.optimize import nnls
from sklearn.ensemble import HistGradientBoostingRegressor

import data

TYPES = 13
MACS, IN, OUT, WEIGHTS = 22, 23, 24, 25


def sizes(net):
    """MACs, elements in and out, weights: of one frame, per layer."""
    return np.expm1(net.x[:, [MACS, IN, OUT, WEIGHTS]].astype(np.float64))


def nearest_legal(net, k):
    legal = np.flatnonzero(net.legal)
    return int(legal[np.abs(legal - k).argmin()])


class Trees:
    """Per device: log of a layer's time, or of its ratio to the device model's, from the layer's features alone."""

    def __init__(self, residual, leaves, rate, seed):
        make = lambda: HistGradientBoostingRegressor(max_iter=400, learning_rate=rate, max_leaf_nodes=leaves, min_samples_leaf=10,
                                                     l2_regularization=1.0, early_stopping=False, random_state=seed)
        self.residual, self.models = residual, [make(), make()]
        self.name = f"{'residual' if residual else 'absolute'}, {leaves} leaves, rate {rate}"

    def fit(self, nets, targets):
        x = np.concatenate([n.x for n in nets])
        for d, model in enumerate(self.models):
            us, base = np.concatenate([t[d] for t in targets]), np.concatenate([n.base[d] for n in nets])
            used = (us > 0) & (base > 0)
            model.fit(x[used], np.log(us[used] / (base[used] if self.residual else 1)))
        return self

    def times(self, nets):
        x = np.concatenate([n.x for n in nets])
        ends = np.cumsum([n.n for n in nets])[:-1]
        out = [np.split(np.exp(m.predict(x)), ends) for m in self.models]
        factor = lambda base: np.where(base > 0, base if self.residual else 1, 0)
        return [np.stack([out[d][i] * factor(n.base[d]) for d in (0, 1)]) for i, n in enumerate(nets)]


class Linear:
    def fit(self, nets, targets):
        kind = np.concatenate([n.x[:, :TYPES].argmax(1) for n in nets])
        rows = np.concatenate([self.columns(n) for n in nets])
        self.weights = np.zeros((2, TYPES, rows.shape[1]))
        for d in (0, 1):
            us = np.concatenate([t[d] for t in targets])
            for k in range(TYPES):
                some = (kind == k) & (us > 0)
                if some.any():
                    scaled = rows[some] / us[some, None]  # relative errors count
                    size = np.maximum(scaled.max(0), 1e-30)
                    self.weights[d, k] = nnls(scaled / size, np.ones(some.sum()))[0] / size
        return self

    @staticmethod
    def columns(net):
        s = sizes(net)
        return np.stack([np.ones(net.n), s[:, 0], s[:, 1] + s[:, 2], s[:, 3]], 1)

    def times(self, nets):
        return [np.einsum("dnc,nc->dn", self.weights[:, n.x[:, :TYPES].argmax(1)], self.columns(n)) * (n.base > 0) for n in nets]


def roofline(net):
    """The cut by data-sheet numbers, no overheads: 61.4 TOPS and 25 GB/s of weights; 40 TFLOP/s and 448 GB/s of everything."""
    s, b = sizes(net), net.pair.batch
    head = np.maximum(b * s[:, 0] / 30.7e6, s[:, 3] / 25e3)
    tail = np.maximum(2 * b * s[:, 0] / 40e6, 2 * (b * (s[:, 1] + s[:, 2]) + s[:, 3]) / 448e3)
    before = np.concatenate([[0], np.cumsum(head)])[net.cut + 1]
    after = np.concatenate([np.cumsum(tail[::-1])[::-1], [0]])[net.cut + 1]
    before[0], after[-1] = 0, 0
    return int(np.where(net.legal, np.maximum(before, after), np.inf).argmin())


def flops_cut(net, share):
    done = np.cumsum(sizes(net)[:, 0])[net.cut]
    return nearest_legal(net, int(np.abs(done / max(done[-1], 1) - share).argmin()))


class WholeTrees:
    """The place of the best cut, as a share of the cuts, from one row per network."""

    def __init__(self, seed):
        self.model = HistGradientBoostingRegressor(max_iter=300, learning_rate=0.05, max_leaf_nodes=15, random_state=seed)

    @staticmethod
    def row(net):
        s = sizes(net)
        quarters = [np.log1p(part[:, 0].sum()) for part in np.array_split(s, 4)]
        return np.concatenate([net.x[:, :TYPES].sum(0), np.log1p(s.sum(0)), quarters, [net.n, net.units], net.x[0, 16:19],
                               net.x[:, 13:].mean(0), net.x[:, 13:].max(0)])

    def fit(self, nets, targets):
        share = [data.interval(n, t).argmin() / n.units for n, t in zip(nets, targets)]
        self.model.fit(np.stack([self.row(n) for n in nets]), share)
        return self

    def cuts(self, nets):
        share = self.model.predict(np.stack([self.row(n) for n in nets]))
        return [nearest_legal(n, s * n.units) for n, s in zip(nets, share)]


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("data")
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--nets", type=int, default=0, help="fit on this many only")
    cli.add_argument("--without-family", choices=data.FAMILIES[:7])
    cli.add_argument("--settle", nargs=3, metavar=("RESIDUAL", "LEAVES", "RATE"), help="no choice among settings: 0 or 1, 31, 0.1")
    cli.add_argument("-o", "--output", required=True)
    args = cli.parse_args()
    parts = data.split(data.load(args.data))
    train = data.training_nets(parts, args.seed, args.nets, args.without_family)
    targets = [data.noisy(n, args.seed) for n in train]
    settings = [(r, leaves, rate) for r in (1, 0) for leaves, rate in ((15, 0.1), (31, 0.05))]
    if args.settle:
        settings = [(int(args.settle[0]), int(args.settle[1]), float(args.settle[2]))]
    best, started = None, time.time()
    for setting in settings:
        trees = Trees(*setting, args.seed).fit(train, targets)
        regret = data.mean_regret(parts["calibrate"], data.by_curve(parts["calibrate"], trees.times(parts["calibrate"])))
        print(f"trees {trees.name}: regret {100 * regret:.3f} % {time.time() - started:.0f} s", flush=True)
        if best is None or regret < best[0]:
            best = regret, trees
    share = min(np.arange(0.02, 1.0, 0.02), key=lambda f: data.mean_regret(train, [flops_cut(n, f) for n in train]))
    with open(args.output, "wb") as out:
        pickle.dump({"trees": best[1], "linear": Linear().fit(train, targets), "flops": float(share),
                     "whole": WholeTrees(args.seed).fit(train, targets), "args": vars(args), "trained_on": len(train)}, out)
    print(f"chosen: trees {best[1].name}; flops share {share:.2f}")


if __name__ == "__main__":
    import baselines  # under this name evaluate.py finds the pickled classes again

    baselines.main()
