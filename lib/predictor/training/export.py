"""Writes a checkpoint of train.py as the weight file that the library reads, and golden values for its tests.

    export.py DATA CHECKPOINT [--partition CHECKPOINT] [--golden ZOO_DATA GOLDEN.json] -o FILE.safetensors
"""
import argparse
import hashlib
import json

import numpy as np
import torch

import data
import train
from model import Trunk


def trunks_of(checkpoint):
    args = checkpoint["args"]
    nets = []
    for state in checkpoint["trunks"]:
        net = Trunk(data.FEATURES, args["hidden"], args["variant"] != "paper", not args["no_lstm"])
        net.load_state_dict(state)
        nets.append(net.eval())
    return nets


def tensors_of(prefix, net):
    """Matrices with the inputs in the rows; LSTM gates as input, forget, output, cell, its two biases added."""
    out = {}
    for i, near in enumerate(net.near):
        weight = near.weight.T
        if net.own is not None:
            weight = torch.cat([weight, net.own[i].weight.T], 1)
        out[f"{prefix}.conv.{i}.weight"], out[f"{prefix}.conv.{i}.bias"] = weight, near.bias
        out[f"{prefix}.linear.{i}.weight"], out[f"{prefix}.linear.{i}.bias"] = net.linear[i].weight.T, net.linear[i].bias
    order = lambda t: torch.cat([t.chunk(4, 0)[g] for g in (0, 1, 3, 2)], 0)
    out[f"{prefix}.lstm.input"] = order(net.lstm.weight_ih_l0).T
    out[f"{prefix}.lstm.recurrent"] = order(net.lstm.weight_hh_l0).T
    out[f"{prefix}.lstm.bias"] = order(net.lstm.bias_ih_l0 + net.lstm.bias_hh_l0)
    out[f"{prefix}.out.weight"], out[f"{prefix}.out.bias"] = net.out.weight[0], net.out.bias
    return {k: v.detach().numpy().astype("<f4") for k, v in out.items()}


def conformal(nets, predicted, confidence=0.9):
    """Split-conformal: the factor within which the true interval of the chosen cut lies, on networks not trained on."""
    scores = []
    for net, us in zip(nets, predicted):
        mine, truth = data.interval(net, us), data.truth(net)
        k = np.argmin(mine)
        scores.append(abs(np.log(mine[k] / truth[k])))
    rank = min(len(scores), int(np.ceil((len(scores) + 1) * confidence)))
    return float(np.exp(np.sort(scores)[rank - 1]))


def write_safetensors(path, tensors, configuration):
    header, at = {"__metadata__": {"splitcnn_predictor": json.dumps(configuration)}}, 0
    for key, value in tensors.items():
        header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            out.write(np.ascontiguousarray(value).tobytes())


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("data")
    cli.add_argument("checkpoint")
    cli.add_argument("--partition")
    cli.add_argument("--golden", nargs=2)
    cli.add_argument("-o", "--output", required=True)
    args = cli.parse_args()
    torch.set_num_threads(1)
    checkpoint = torch.load(args.checkpoint)
    variant = checkpoint["args"]["variant"]
    nets, norm = trunks_of(checkpoint), checkpoint["norm"]
    predict = lambda some: train.predict(some, nets, norm, variant, checkpoint["kind"], checkpoint["scale"])
    held_out = data.split(data.load(args.data))["calibrate"]
    predicted = predict(held_out)
    tensors = {"mean": np.asarray(norm[0], "<f4"), "scale": np.asarray(norm[1], "<f4")}
    for key, net in zip(("head", "tail"), nets):
        tensors.update(tensors_of(key, net))
    if args.partition:
        other = torch.load(args.partition)
        assert np.allclose(other["norm"][0], norm[0]) and np.allclose(other["norm"][1], norm[1]), "trained on another normalisation"
        tensors.update(tensors_of("partition", trunks_of(other)[0]))
    pair = held_out[0].pair
    configuration = {
        "format": "splitcnn-predictor", "version": 1, "feature_version": 2, "variant": variant, "output": checkpoint["kind"],
        "hidden": checkpoint["args"]["hidden"], "truth": pair.card["truth"],
        "confidence": 0.9, "interval_factor": conformal(held_out, predicted),
        "training_hash": hashlib.sha256(open(args.data, "rb").read()).hexdigest()[:16], "link": pair.card["link"],
        "training": {k: checkpoint["args"][k] for k in ("seed", "epochs")} | {"networks": checkpoint["trained_on"]},
        "metrics": {"networks": len(held_out), "mean_regret": data.mean_regret(held_out, data.by_curve(held_out, predicted))},
    }
    for d, key in enumerate(("head", "tail")):
        device = pair.card[key]
        configuration[key] = {"device": device["device"], "name": device["name"], "base": device["base"],
                              "fixed_ms": device["start_us"] / 1e3 / pair.batch, "scale_us": float(checkpoint["scale"][d])}
    write_safetensors(args.output, tensors, configuration)
    print(json.dumps({"interval_factor": configuration["interval_factor"], **configuration["metrics"]}))
    if args.golden:
        rows = []
        for net, us in zip(data.load(args.golden[0]), predict(data.load(args.golden[0]))):
            rows.append({"index": net.seed, "head_us": us[0].tolist(), "tail_us": us[1].tolist()})
        with open(args.golden[1], "w") as out:
            json.dump({"weights": args.output.split("/")[-1], "networks": [r for r in rows if len(r["head_us"]) < 80]}, out)


if __name__ == "__main__":
    main()
