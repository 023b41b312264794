#!/usr/bin/env bash
# Everything there is to show on a machine with an NVIDIA GPU, in under 8 minutes: builds, runs the tests of the GPU and of its plans, times
# networks and tails beside PyTorch (where that is installed), prints one table and writes bench/results/gpu-<device>-<date>.jsonl.
#
#     bench/gpu_all.sh [--minutes 8] [--build build/gpu] [--no-build] [--no-tests] [--results bench/results] [--python python3] [NET...]
#
# --no-build takes the programs that are in --build already. What does not fit into --minutes is not timed, and said; 60 are enough for
# torch.compile on every network. Ends with 0; 1 when something failed or was not timed; 77 where there is no GPU, having written nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=8 build=build/gpu results=bench/results python=python3 building=1 testing=1 nets=()
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=$2; shift ;;
    --build) build=$2; shift ;;
    --results) results=$2; shift ;;
    --python) python=$2; shift ;;
    --no-build) building=0 ;;
    --no-tests) testing=0 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "gpu_all: there is no option $1; see --help" >&2; exit 2 ;;
    *) nets+=("$1") ;;
  esac
  shift
done
left() { echo $((minutes * 60 - SECONDS)); }
say() { echo "== $(printf '%3d' $SECONDS) s: $*"; }

# Before minutes go into a build: is there any sign of a driver? gpu_bench asks the driver itself later, and has the last word.
if [ "$building" = 1 ] && [ -z "${SPLITCNN_GPU_PLUGIN:-}" ] && [ ! -e /dev/nvidiactl ] && [ ! -e /dev/dxg ] && ! command -v nvidia-smi >/dev/null; then
  echo "gpu_all: this machine has no NVIDIA driver (no /dev/nvidiactl, no nvidia-smi); install it, or run this where a GPU is. Nothing was written" >&2
  exit 77
fi

failed=()
if [ "$building" = 1 ]; then
  say "building in $build"
  mkdir -p "$(dirname "$build")"
  # The kernels for this machine's GPU alone: quicker, and nothing is left to the driver's compiler.
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ' || true)
  cmake --preset release -B "$build" -DSPLITCNN_WITH_CUDA=ON ${architecture:+"-DSPLITCNN_CUDA_ARCHITECTURES=$architecture"} >"$build.log" 2>&1 ||
    { tail -n 5 "$build.log" >&2; echo "gpu_all: cannot be configured with CUDA; $build.log has it all" >&2; exit 1; }
  cmake --build "$build" --target gpu_bench device_test gpu_plan_test plugin_probe fake_driver splitcnn_cuda >>"$build.log" 2>&1 ||
    { tail -n 30 "$build.log" >&2; echo "gpu_all: does not build; $build.log has it all" >&2; exit 1; }
fi
bench=$build/bin/gpu_bench
[ -x "$bench" ] || { echo "gpu_all: $bench is not there; leave out --no-build, or name the folder with --build" >&2; exit 1; }

# Asked first, so that a machine without a GPU does not run tests that only skip.
code=0
"$bench" --ask || code=$?
if [ "$code" != 0 ]; then
  echo "gpu_all: nothing was written" >&2
  exit "$code"
fi

if [ "$testing" = 1 ]; then
  say "tests"
  # A GPU answers: tests that skip for want of one, or of cuDNN, fail.
  SPLITCNN_REQUIRE=gpu,cudnn timeout "$(($(left) > 20 ? $(left) / 2 : 10))" ctest --test-dir "$build" -L '^(long-)?gpu$|^plan$' -j 4 --output-on-failure || failed+=("tests")
fi

say "timing, $(left) s left"
code=0
mkdir -p "$results"
"$bench" --results "$results" --minutes "$(awk "BEGIN {m = ($(left) - 10) / 60; print m > 0.1 ? m : 0.1}")" --python "$python" "${nets[@]}" || code=$?
[ "$code" = 0 ] || failed+=("gpu_bench ($code)")

say "done"
if [ ${#failed[@]} -gt 0 ]; then
  echo "gpu_all: failed or incomplete: ${failed[*]}" >&2
  exit 1
fi
