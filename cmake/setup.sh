#!/bin/sh
# Installs what building and testing splitcnn needs from the packages of Debian 12+ or Ubuntu 24.04+. Packages that are
# already there are left alone; nothing else is touched.
set -eu

packages="g++ cmake ninja-build ccache libfmt-dev nlohmann-json3-dev libprotobuf-dev protobuf-compiler libonnx-dev
  libdnnl-dev libcli11-dev libstb-dev libeigen3-dev catch2 pkgconf"

missing=""
for package in $packages; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "setup.sh: this is not a Debian or Ubuntu system; please install the counterparts of:$missing" >&2
  exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: not root and no sudo; please have these packages installed:$missing" >&2
    exit 1
  fi
  as_root=sudo
fi

echo "setup.sh: installing$missing"
install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"
# shellcheck disable=SC2086
# Package lists may be absent or stale; they are fetched only when the first attempt fails.
$install $missing >/dev/null 2>&1 || { $as_root apt-get update -qq && $install $missing; }
