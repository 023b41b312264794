"""Scores checkpoints of train.py and baselines of baselines.py on networks that nothing was trained, chosen or calibrated on. JSON lines.

    evaluate.py DATA [BASELINES.pkl...] [CHECKPOINT.pt...] [--real ZOO_DATA ZOO_NAMES.jsonl]

Against the truth of DATA, noise-free where it is modelled; where it is measured, against the cuts that were timed directly: the best cut by
the one half, regret by the other, and the other way round. Fractions, not per cent. Several files trained alike but for the seed are one
row (`seeds`): choices are scored per seed and averaged per network. Subsets: all; interior: networks whose best cut uses both devices;
unseen-FAMILY, for files trained without one. ci95: of the mean regret, bootstrap over networks. minus_trees: mean regret less that of the
trees of the same training networks, with the ends of its paired bootstrap interval. coverage: of the 90 % interval, whose factor comes
from the calibration set. top3: mean regret when up to three cuts are measured as Partitioner::predict does where the intervals of several
overlap, and the best is taken: modelled truth by medians of seven runs with 5 % noise each, measured truth by the one half of the runs.
--real: the regret of every network of the zoo.
"""
import argparse
import json
import pickle

import numpy as np
import torch

import baselines
import data
import export
import train

RESAMPLED = 4000


class Scored:
    """Choices of one predictor, one row per seed, on networks; and how good they are by the truth."""

    def __init__(self, nets, cuts):
        self.views = [data.views(n) for n in nets]
        self.best = np.array([v[0][0].argmin() for v in self.views])
        self.units = np.array([n.units for n in nets])
        self.cuts = np.atleast_2d(np.array(cuts))
        self.interior = np.array([gains(sum(t for t, _ in v), sum(t for t, _ in v).argmin()) for v in self.views])
        self.regret = self.each(lambda k, best, t: t[k] / t[best] - 1)
        self.agree = self.each(lambda k, best, t: gains(t, k) == gains(t, best))
        self.away = self.each(lambda k, best, t: abs(k - best))

    def each(self, score):
        """Per row and network, the mean over its views."""
        one = lambda k, views: np.mean([score(k, by.argmin(), judge) for by, judge in views])
        return np.array([[one(k, v) for k, v in zip(row, self.views)] for row in self.cuts])


def gains(t, k):
    return t[k] < min(t[0], t[-1])


def interval_of(values):
    """Ends of the 95 % bootstrap interval of the mean."""
    pick = np.random.default_rng(1).integers(0, len(values), (RESAMPLED, len(values)))
    return [float(v) for v in np.quantile(values[pick].mean(1), [0.025, 0.975])]


def row(truth, name, subset, scored, some, trees=None):
    regret = scored.regret[:, some]
    out = {"truth": truth, "predictor": name, "n": int(some.sum()), "subset": subset,
           "layerwise": 1 - scored.away[:, some].sum() / (len(scored.cuts) * scored.units[some].sum()),
           "index_mape": (scored.away / scored.units)[:, some].mean(),
           "regret_mean": regret.mean(), "regret_p95": np.quantile(regret, 0.95),
           "agreement": scored.agree[:, some].mean(), "exact": (scored.away[:, some] == 0).mean(), "ci95": interval_of(regret.mean(0))}
    if trees is not None:
        less = regret.mean(0) - trees.regret[:, some].mean(0)
        out["minus_trees"], out["minus_trees_ci95"] = less.mean(), interval_of(less)
    return out


def contenders(net, t, factor):
    """As Predictor::forecast: the best cut and at most two more whose intervals overlap its own."""
    order = np.argsort(t, kind="stable")[:3]
    return [int(k) for k in order if k == order[0] or (np.isfinite(t[k]) and t[k] / factor <= t[order[0]] * factor)]


def measure_few(net, us, time, most=3):
    """As Partitioner::predict with devices: the forecast's cut, then each time the best by the curves as corrected so far. `time`: stage
    times of a cut. The cut of least interval among those that were timed."""
    curves, known, seen = data.curves(net, us), ([], []), {}
    for _ in range(most):
        t = np.full(len(net.cut), -np.inf)
        for ms, logs in zip(curves, known):
            factor = np.exp(np.interp(np.arange(len(ms)), *zip(*sorted(logs)))) if logs else 1
            t = np.maximum(t, ms * factor)
        t[~net.legal | np.isin(np.arange(len(t)), list(seen))] = np.inf
        k = int(t.argmin())
        if not t[k] < min(seen.values(), default=np.inf):
            break
        measured = time(k)
        seen[k] = max(measured)
        for ms, logs, real in zip(curves, known, measured):
            if ms[k] > 0 and real > 0:
                logs.append((k, np.log(real / ms[k])))
    return min(seen, key=seen.get)


def noisy_stages(net, rng):
    """Stage times of a cut by medians of seven runs with 5 % noise each."""
    d, g = data.curves(net, net.us)
    run = lambda ms: np.median(ms * np.exp(0.05 * rng.standard_normal(7)))
    return lambda k: (run(d[k]), run(g[k]))


def certainty(nets, calibrate, predict):
    mine = [data.interval(n, us) for n, us in zip(nets, predict(nets))]
    factor = export.conformal(calibrate, predict(calibrate))
    truth = [np.mean([t for t, _ in data.views(n)], 0) for n in nets]
    inside = [t.min() / factor <= real[t.argmin()] <= t.min() * factor for real, t in zip(truth, mine)]
    few = [contenders(n, t, factor) for n, t in zip(nets, mine)]
    rng = np.random.default_rng(7)

    def after_measuring(net, us, ks):
        if net.pair.measured:  # the one half measures, the other judges
            pairs = [(lambda k, s=stages: s[:, k], view) for stages, view in zip(data.stage_halves(net), data.views(net))]
        else:
            pairs = [(noisy_stages(net, rng), view) for view in data.views(net)]
        choice = [measure_few(net, us, time) if len(ks) > 1 else ks[0] for time, _ in pairs]
        return np.mean([judge[k] / judge[by.argmin()] - 1 for k, (_, (by, judge)) in zip(choice, pairs)])

    regret = [after_measuring(*each) for each in zip(nets, predict(nets), few)]
    return {"coverage": float(np.mean(inside)), "interval_factor": factor, "contenders": float(np.mean([len(k) for k in few])),
            "top3_regret": float(np.mean(regret))}


class Checkpoint:
    def __init__(self, path):
        checkpoint = torch.load(path)
        self.args, self.norm = checkpoint["args"], checkpoint["norm"]
        self.kind, self.scale = checkpoint["kind"], checkpoint["scale"]
        self.trained_on, self.trunks = checkpoint["trained_on"], export.trunks_of(checkpoint)
        self.partition = self.args["formulation"] == "partition"
        notes = [f"{key}" for key in ("no_lstm", "undirected", "turned") if self.args.get(key)]
        self.name = " ".join([self.args["variant"], self.args["formulation"], *notes,
                              f"{self.args['epochs']} epochs", f"{self.trained_on} nets"])

    def predict(self, nets):
        return train.predict(nets, self.trunks, self.norm, self.args["variant"], self.kind, self.scale,
                             not self.args["undirected"], bool(self.args.get("turned")))

    def cuts(self, nets):
        if self.partition:
            return [int(v.argmax()) for v in train.logits(nets, self.trunks[0], self.norm, self.args["variant"])]
        return data.by_curve(nets, self.predict(nets))


class Baseline:
    def __init__(self, path, key):
        with open(path, "rb") as file:
            stored = pickle.load(file)
        self.args, self.trained_on, self.what, self.key = stored["args"], stored["trained_on"], stored[key], key
        self.name = f"{key} {self.trained_on} nets"

    def cuts(self, nets):
        if self.key == "flops":
            return [baselines.flops_cut(n, self.what) for n in nets]
        return self.what.cuts(nets) if self.key == "whole" else data.by_curve(nets, self.what.times(nets))


def untrained(nets):
    yield "all-head", [baselines.nearest_legal(n, n.units) for n in nets]
    yield "middle", [baselines.nearest_legal(n, n.units / 2) for n in nets]
    yield "device-model", data.by_curve(nets, [n.base for n in nets])
    if nets[0].pair.measured:
        yield "measured curves", [int(data.truth(n).argmin()) for n in nets]
        yield "measured curves that never fall", data.by_curve(nets, [n.us for n in nets])
    else:
        yield "roofline", [baselines.roofline(n) for n in nets]
        yield "oracle with one run of 5 % noise", data.by_curve(nets, [data.noisy(n, 99) for n in nets])


def split_half(nets):
    """How well the one half knows the other: what is lost by taking the best cut of the one half in the other."""
    regret = np.array([np.mean([judge[by.argmin()] / judge.min() - 1 for by, judge in data.views(n)]) for n in nets])
    return {"truth": "measured", "predictor": "split-half oracle", "n": len(nets), "subset": "all", "regret_mean": regret.mean(),
            "regret_p95": np.quantile(regret, 0.95), "ci95": interval_of(regret), "spread": np.median([n.spread for n in nets], 0).tolist()}


def show(line):
    def tidy(v):
        if isinstance(v, list):
            return [tidy(c) for c in v]
        return round(float(v), 6) if isinstance(v, (float, np.floating)) else v

    print(json.dumps({k: tidy(v) for k, v in line.items()}), flush=True)


def real_networks(truth, name, zoo, names, predictors):
    """One line per network with the regret of every seed, one line over all of them; the worst counts over seeds, too."""
    scored, seeds = Scored(zoo, [p.cuts(zoo) for p in predictors]), [p.args["seed"] for p in predictors]
    for i, network in enumerate(names):
        show({"truth": truth, "predictor": name, "subset": "real", "network": network, "seeds": seeds, "best": int(scored.best[i]),
              "chosen": scored.cuts[:, i].tolist(),
              "regret": scored.regret[:, i].mean(), "regret_worst": scored.regret[:, i].max()})
    line = row(truth, name, "real", scored, np.ones(len(zoo), bool))
    show({"seeds": seeds} | line | {"regret_worst": scored.regret.max()})


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("data")
    cli.add_argument("files", nargs="*")
    cli.add_argument("--real", nargs=2, metavar=("ZOO_DATA", "NAMES"))
    args = cli.parse_args()
    torch.set_num_threads(1)
    parts = data.split(data.load(args.data))
    truth = parts["test"][0].pair.card["truth"]
    if truth == "measured":
        parts["test"] = [n for n in parts["test"] if n.direct is not None]
        show(split_half(parts["test"]))
    groups = {}  # (name, left-out family) -> predictors alike but for the seed
    for path in args.files:
        some = [Baseline(path, key) for key in ("trees", "linear", "flops", "whole")] if path.endswith(".pkl") else [Checkpoint(path)]
        for p in some:
            groups.setdefault((p.name, p.args.get("without_family")), []).append(p)
    everything = np.ones(len(parts["test"]), bool)
    for name, cuts in untrained(parts["test"]):
        scored = Scored(parts["test"], cuts)
        for subset, some in (("all", everything), ("interior", scored.interior)):
            show(row(truth, name, subset, scored, some))
    trees = {}  # by what they were trained on
    ordered = sorted(groups.items(), key=lambda g: not g[0][0].startswith("trees"))
    for (name, family), predictors in ordered:
        nets = parts["test"]
        if family:
            nets = [n for n in nets + parts["train"] if data.FAMILIES[n.family] == family and (truth == "modelled" or n.direct is not None)]
        scored = Scored(nets, [p.cuts(nets) for p in predictors])
        if name.startswith("trees"):
            trees[predictors[0].trained_on, family] = scored
        beside = trees.get((predictors[0].trained_on, family))
        seeds = {"seeds": [p.args["seed"] for p in predictors]}
        line = seeds | row(truth, name, f"unseen-{family}" if family else "all", scored, np.ones(len(nets), bool), beside)
        if hasattr(predictors[0], "predict") and not predictors[0].partition and not family:
            all_of = [certainty(nets, parts["calibrate"], p.predict) for p in predictors]
            line |= {k: [c[k] for c in all_of] for k in all_of[0]}
        show(line)
        if not family:
            show(seeds | row(truth, name, "interior", scored, scored.interior, beside))
    if args.real:
        names = [json.loads(text)["network"] for text in open(args.real[1])]
        zoo = data.load(args.real[0])
        for (name, family), predictors in ordered:
            if not family:
                real_networks(truth, name, zoo, names, predictors)


if __name__ == "__main__":
    main()
