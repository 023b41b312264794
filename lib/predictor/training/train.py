"""Trains the latency model of both devices, or the partition model, and writes a checkpoint.

    train.py DATA --seed 1 --epochs 60 -o FILE.pt [--variant default|paper] [--formulation latency|partition]
"""
import argparse
import time

import numpy as np
import torch

import data
from model import Trunk

PLAIN = [i for i in range(data.FEATURES) if i <= 12 or i in (31, 32, 33, 35) or i >= 38]  # already near 0..1: not logarithms
CARRIED = 1e-3  # weight of size_of_carried()
PAPER = [i for i in range(data.FEATURES) if i <= 24]  # layer type, sizes, kernel, stride: what the paper lists


def normalisation(nets, variant):
    x = np.concatenate([n.x for n in nets])
    if variant == "paper":
        raw = np.expm1(x.astype(np.float64))
        raw[:, PLAIN + [20]] = x[:, PLAIN + [20]]
        scale = 1 / np.maximum(raw.max(0), 1e-9)
        scale[[i for i in range(data.FEATURES) if i not in PAPER]] = 0
        return np.zeros(data.FEATURES), scale
    mean, scale = x.mean(0), 1 / np.maximum(x.std(0), 1e-3)
    mean[:13], scale[:13] = 0, 1
    return mean, scale


def features(net, norm, variant):
    x = net.x.astype(np.float64)
    if variant == "paper":
        raw = np.expm1(x)
        raw[:, PLAIN + [20]] = x[:, PLAIN + [20]]
        x = raw
    return ((x - norm[0]) * norm[1]).astype(np.float32)


class Batch:
    """Networks of similar length, padded, in both directions. Device 1 sees everything reversed; `turned` (an ablation): device 0 does."""

    def __init__(self, nets, targets, norm, variant, directed=True, turned=False):
        size, longest = len(nets), max(n.n for n in nets)
        self.pair = nets[0].pair
        shape = (size, longest)
        self.x = torch.zeros(2, *shape, data.FEATURES)
        self.near = torch.zeros(2, *shape, longest)
        self.base = torch.ones(2, *shape)
        self.us = torch.ones(2, *shape)
        self.mask = torch.zeros(2, *shape)
        cuts = max(len(n.cut) for n in nets)
        self.cut = torch.zeros(size, cuts, dtype=torch.long)
        self.cut_mask = torch.zeros(size, cuts)
        self.link = torch.zeros(size, cuts)
        self.last = torch.tensor([len(n.cut) - 1 for n in nets])
        self.truth = torch.full((size, cuts), 1e9)
        own = 1 if variant == "paper" else 0
        for b, net in enumerate(nets):
            n = net.n
            x = torch.from_numpy(features(net, norm, variant))
            forward = torch.eye(n) * own
            e = net.edges
            forward[e[:, 1], e[:, 0]] = 1
            backward = torch.eye(n) * own
            backward[e[:, 0], e[:, 1]] = 1
            if not directed:
                forward = backward = ((forward + backward) > 0).float()
            there, back = (1, 0) if turned else (0, 1)
            for d, near in ((there, forward), (back, backward.flip(0, 1))):
                self.near[d, b, :n, :n] = near / near.sum(1, keepdim=True).clamp(min=1)
            self.x[there, b, :n], self.x[back, b, :n] = x, x.flip(0)
            for d in (0, 1):
                us, base = targets[b][d], net.base[d]
                if d == 1:
                    us, base = us[::-1], base[::-1]
                self.us[d, b, :n] = torch.from_numpy(np.ascontiguousarray(us))
                self.base[d, b, :n] = torch.from_numpy(np.ascontiguousarray(base))
                self.mask[d, b, :n] = torch.from_numpy((base > 0).astype(np.float32))
            k = len(net.cut)
            self.cut[b, :k] = torch.from_numpy(net.cut.astype(np.int64))
            self.cut_mask[b, :k] = torch.from_numpy(net.legal.astype(np.float32))
            self.link[b, :k] = torch.from_numpy(net.link_ms)
            truth = data.truth(net) if net.pair.measured else data.interval(net, targets[b])
            self.truth[b, :k] = torch.from_numpy(np.minimum(truth, 1e9))
        self.lengths = torch.tensor([n.n for n in nets])
        place = torch.arange(longest)[None]
        self.turn = torch.where(place < self.lengths[:, None], self.lengths[:, None] - 1 - place, place) if turned else None

    def run(self, trunks):
        """Outputs per device, device 1's from the last layer to the first."""
        outs = [t(self.x[d], self.near[d]) for d, t in enumerate(trunks)]
        return outs if self.turn is None else [o.gather(1, self.turn) for o in outs]

    def stages(self, us):
        """Stage times per cut, ms per frame, of times per layer [2, B, N] in each device's own direction."""
        head = torch.cumsum(us[0] * self.mask[0], 1).gather(1, self.cut)
        after = (self.lengths[:, None] - 2 - self.cut).clamp(min=-1)  # last position of the reversed sequence that is behind the cut
        tail = torch.cumsum(us[1] * self.mask[1], 1)
        tail = torch.where(after >= 0, tail.gather(1, after.clamp(min=0)), torch.zeros(()))
        d = (self.pair.start_us[0] + head) / 1e3 / self.pair.batch + self.link
        g = (self.pair.start_us[1] + tail) / 1e3 / self.pair.batch
        k = torch.arange(d.shape[1])[None]
        return torch.where(k == 0, torch.zeros(()), d), torch.where(k == self.last[:, None], torch.zeros(()), g)


def batches(nets, targets, norm, variant, size, directed=True, turned=False):
    order = np.argsort([n.n for n in nets], kind="stable")
    return [Batch([nets[i] for i in part], [targets[i] for i in part], norm, variant, directed, turned)
            for part in np.array_split(order, max(1, round(len(order) / size)))]


def default_loss(batch, out, regret_weight):
    us = batch.base.clamp(min=1e-6) * torch.exp(out.clamp(-4, 4))  # 0: the input, and what is free; masked
    share = batch.us * batch.mask
    share = share / share.sum(2, keepdim=True) * batch.mask.sum(2, keepdim=True)
    weight = batch.mask * (batch.us > 0) * (0.25 + 0.75 * share.clamp(max=6))  # measured times may be 0: lost in the noise
    layer = torch.nn.functional.huber_loss(torch.log(us), torch.log(batch.us.clamp(min=1e-6)), reduction="none", delta=0.3)
    loss = (layer * weight).sum() / weight.sum()
    d, g = batch.stages(us)
    dt, gt = batch.stages(batch.us)
    valid = batch.cut_mask
    for mine, truth in ((d, dt), (g, gt)):
        ok = valid * (truth > 0)
        mine, truth = torch.log(mine.clamp(min=1e-6)), torch.log(truth.clamp(min=1e-6))
        error = torch.nn.functional.huber_loss(mine, truth, reduction="none", delta=0.1)
        loss = loss + 4 * (error * ok).sum() / ok.sum()
    if regret_weight > 0:
        t = torch.maximum(d, g)
        best = batch.truth.min(1, keepdim=True).values
        p = torch.softmax(-torch.log(t.clamp(min=1e-6)) / 0.03 - (1 - valid) * 1e4, 1)
        loss = loss + regret_weight * (p * (batch.truth / best - 1).clamp(max=3)).sum(1).mean()
    return loss


def size_of_carried(batch, trunks):
    """Mean square of what goes into the LSTMs. Each layer adds to what it was given, and nothing else keeps that from growing a
    hundredfold in the first epochs, while the outputs are near zero and the gradients mostly noise: then the gates are shut for good."""
    inside = (torch.arange(batch.x.shape[2])[None] < batch.lengths[:, None]).float()
    return sum(((t.carried ** 2).mean(2) * inside).sum() for t in trunks) / inside.sum()


def paper_loss(batch, outs, scale):
    loss = 0
    for d in (0, 1):
        truth = torch.cumsum(batch.us[d] * batch.mask[d], 1) / scale[d]
        inside = (torch.arange(truth.shape[1])[None] < batch.lengths[:, None]).float()
        loss = loss + (((outs[d] - truth) ** 2) * inside).sum() / inside.sum()
    return loss


def partition_loss(batch, out):
    logits = out.gather(1, batch.cut) - (1 - batch.cut_mask) * 1e4
    best = batch.truth.min(1, keepdim=True).values
    soft = torch.softmax(-(batch.truth / best - 1) / 0.02 - (1 - batch.cut_mask) * 1e4, 1)
    return -(soft * torch.log_softmax(logits, 1)).sum(1).mean()


def times(net, outs, kind, scale):
    """Times per layer [2, n] in forward order from the outputs of both devices."""
    out = np.stack([outs[0][:net.n], outs[1][:net.n][::-1]])
    if kind == "log_residual":
        return net.base * np.exp(np.clip(out, -4, 4))
    cumulative = [out[0] * scale[0], out[1] * scale[1]]
    return np.stack([np.diff(cumulative[0], prepend=0), -np.diff(cumulative[1], append=0)])


def predict(nets, trunks, norm, variant, kind="log_residual", scale=(1, 1), directed=True, turned=False):
    zero = [n.us for n in nets]
    order = np.argsort([n.n for n in nets], kind="stable")
    result = [None] * len(nets)
    with torch.no_grad():
        for part in np.array_split(order, max(1, len(order) // 64)):
            batch = Batch([nets[i] for i in part], [zero[i] for i in part], norm, variant, directed, turned)
            outs = [o.double().numpy() for o in batch.run(trunks)]
            for row, i in enumerate(part):
                result[i] = times(nets[i], [o[row] for o in outs], kind, scale)
    return result


def logits(nets, trunk, norm, variant):
    order = np.argsort([n.n for n in nets], kind="stable")
    result = [None] * len(nets)
    with torch.no_grad():
        for part in np.array_split(order, max(1, len(order) // 64)):
            batch = Batch([nets[i] for i in part], [nets[i].us for i in part], norm, variant)
            out = trunk(batch.x[0], batch.near[0]).double().numpy()
            for row, i in enumerate(part):
                result[i] = np.where(nets[i].legal, out[row][nets[i].cut], -np.inf)
    return result


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("data")
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--epochs", type=int, default=60)
    cli.add_argument("--hidden", type=int, default=32)
    cli.add_argument("--batch", type=int, default=48)
    cli.add_argument("--rate", type=float, default=4e-3)
    cli.add_argument("--variant", choices=["default", "paper"], default="default")
    cli.add_argument("--formulation", choices=["latency", "partition"], default="latency")
    cli.add_argument("--nets", type=int, default=0, help="train on this many only")
    cli.add_argument("--without-family", choices=data.FAMILIES[:7])
    cli.add_argument("--no-lstm", action="store_true")
    cli.add_argument("--undirected", action="store_true")
    cli.add_argument("--turned", action="store_true", help="the head's network from back to front, the tail's from front to back")
    cli.add_argument("-o", "--output", required=True)
    args = cli.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    parts = data.split(data.load(args.data))
    train = data.training_nets(parts, args.seed, args.nets, args.without_family)
    check = parts["calibrate"][:200]
    norm = normalisation(train, args.variant)
    targets = [data.noisy(n, args.seed) for n in train]
    scale = [max(t[d].sum() for t in targets) for d in (0, 1)]
    kind = "cumulative" if args.variant == "paper" else "log_residual"
    own = args.variant != "paper"
    trunks = [Trunk(data.FEATURES, args.hidden, own, not args.no_lstm) for _ in range(2 if args.formulation == "latency" else 1)]
    todo = batches(train, targets, norm, args.variant, args.batch, not args.undirected, args.turned)
    parameters = [p for t in trunks for p in t.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=args.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.rate, total_steps=args.epochs * len(todo), pct_start=0.15)
    started = time.time()
    for epoch in range(args.epochs):
        total = 0
        for b in rng.permutation(len(todo)):
            batch = todo[b]
            outs = batch.run(trunks)
            if args.formulation == "partition":
                loss = partition_loss(batch, outs[0])
            elif args.variant == "paper":
                loss = paper_loss(batch, outs, scale)
            else:
                loss = default_loss(batch, torch.stack(outs), 1.0 if epoch > args.epochs // 3 else 0)
            optimiser.zero_grad()
            (loss if args.variant == "paper" else loss + CARRIED * size_of_carried(batch, trunks)).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        if epoch % 5 == 4 or epoch + 1 == args.epochs:
            note = ""
            if args.formulation == "latency":
                guess = predict(check, trunks, norm, args.variant, kind, scale, not args.undirected, args.turned)
                note = f" regret {100 * data.mean_regret(check, data.by_curve(check, guess)):.3f} %"
            print(f"epoch {epoch + 1} loss {total / len(todo):.5f}{note} {time.time() - started:.0f} s", flush=True)
            torch.save({"trunks": [t.state_dict() for t in trunks], "args": vars(args), "norm": norm, "scale": scale, "kind": kind,
                        "trained_on": len(train)}, args.output)


if __name__ == "__main__":
    main()
