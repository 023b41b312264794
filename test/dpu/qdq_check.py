#!/usr/bin/env python3
"""Runs the exported models of qdq_test in ONNX Runtime and compares with what the software DPU gave.

    qdq_check.py FOLDER      reads FOLDER/manifest.json, prints one JSON line
"""
import json
import os
import sys

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as error:
    print(json.dumps({"missing": str(error)}))
    sys.exit(0)

folder = sys.argv[1]
options = ort.SessionOptions()
options.log_severity_level = 3
options.intra_op_num_threads = 1
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # float operators between the pairs, nothing approximated
result = {"version": ort.__version__, "models": 0, "worst_lsb": 0, "worst": "", "differing": 0, "values": 0, "same_top1": 0, "frames": 0}
for case in json.load(open(os.path.join(folder, "manifest.json"))):
    session = ort.InferenceSession(os.path.join(folder, case["model"]), options, providers=["CPUExecutionProvider"])
    read = lambda t: np.fromfile(os.path.join(folder, t["file"]), np.float32).reshape(t["shape"])
    outputs = session.run([t["name"] for t in case["outputs"]], {t["name"]: read(t) for t in case["inputs"]})
    for t, got in zip(case["outputs"], outputs):
        wanted = read(t)
        steps = np.abs(got.astype(np.float64) - wanted) * 2.0 ** t["fix_point"]
        result["models"] += 1
        if case["whole"]:
            result["frames"] += 1
            result["same_top1"] += int(got.argmax() == wanted.argmax())
            continue
        result["differing"] += int((steps > 0.5).sum())
        result["values"] += steps.size
        if steps.max() > result["worst_lsb"]:
            result["worst_lsb"], result["worst"] = float(steps.max()), case["name"]
print(json.dumps(result))
