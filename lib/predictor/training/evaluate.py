"""Scores checkpoints of train.py on the networks that nothing was trained, chosen or calibrated on. One JSON line per predictor and subset.

    evaluate.py DATA CHECKPOINT...

Against the noise-free truth of DATA. Rows of no training beside: all-head, middle, device-model (the uncorrected base of the default variant).
"interior": networks whose best cut uses both devices. ci95: of the mean regret, bootstrap over networks. Fractions, not per cent. coverage:
of the 90 % interval, whose factor comes from the calibration set.
"""
import argparse
import json

import numpy as np
import torch

import data
import export
import train


def rows(nets, cuts, name):
    truth = [data.interval(n, n.us) for n in nets]
    best = np.array([t.argmin() for t in truth])
    units = np.array([n.units for n in nets])
    regret = np.array([t[k] / t.min() - 1 for t, k in zip(truth, cuts)])
    gains = lambda ks: np.array([t[k] < min(t[0], t[-1]) for t, k in zip(truth, ks)])
    agree = gains(best) == gains(cuts)
    away = np.abs(best - np.array(cuts))
    rng = np.random.default_rng(1)
    for subset, some in (("all", np.ones(len(nets), bool)), ("interior", gains(best))):
        r, n = regret[some], int(some.sum())
        means = r[rng.integers(0, n, (2000, n))].mean(1)
        yield {"truth": "modelled", "predictor": name, "n": n, "subset": subset, "layerwise": 1 - away[some].sum() / units[some].sum(),
               "index_mape": (away / units)[some].mean(), "regret_mean": r.mean(), "regret_p95": np.quantile(r, 0.95),
               "agreement": agree[some].mean(), "ci95": list(np.quantile(means, [0.025, 0.975]))}


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("data")
    cli.add_argument("checkpoints", nargs="+")
    args = cli.parse_args()
    torch.set_num_threads(1)
    parts = data.split(data.load(args.data))
    nets = parts["test"]
    legal = lambda n, k: int(np.flatnonzero(n.legal)[np.abs(np.flatnonzero(n.legal) - k).argmin()])
    results = list(rows(nets, [legal(n, n.units) for n in nets], "all-head"))
    results += rows(nets, [legal(n, n.units / 2) for n in nets], "middle")
    results += rows(nets, [int(data.interval(n, n.base).argmin()) for n in nets], "device-model")
    for path in args.checkpoints:
        checkpoint = torch.load(path)
        options = checkpoint["args"]
        trunks, norm = export.trunks_of(checkpoint), checkpoint["norm"]
        if options["formulation"] == "partition":
            results += rows(nets, [int(v.argmax()) for v in train.logits(nets, trunks[0], norm, options["variant"])], path)
            continue
        predict = lambda some: train.predict(some, trunks, norm, options["variant"], checkpoint["kind"], checkpoint["scale"], not options["undirected"])
        predicted = predict(nets)
        mine = [data.interval(n, us) for n, us in zip(nets, predicted)]
        own = list(rows(nets, [int(t.argmin()) for t in mine], path))
        factor = export.conformal(parts["calibrate"], predict(parts["calibrate"]))
        inside = [t.min() / factor <= data.interval(n, n.us)[t.argmin()] <= t.min() * factor for n, t in zip(nets, mine)]
        own[0]["coverage"], own[0]["interval_factor"] = float(np.mean(inside)), factor
        results += own
    for row in results:
        print(json.dumps({k: round(float(v), 5) if isinstance(v, float) else [round(float(c), 5) for c in v] if isinstance(v, list) else v for k, v in row.items()}))


if __name__ == "__main__":
    main()
