#!/usr/bin/env bash
# Builds ./spikelet for TRIPLE: one static program, without training, from the sources in
# $SPIKELET_SOURCE. The compilers are Debian's packages, unpacked (not installed) into $EDGE.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
source="${SPIKELET_SOURCE:-SOURCE}"
[ -e "$source/.ci/edge-tools" ] || {
  echo "no sources of spikelet in $source: set SPIKELET_SOURCE to a checkout" >&2
  exit 1
}
cd "$source"
. .ci/edge-tools
rust_of_debian >/dev/null && need GNU_PACKAGES || {
  echo "Debian's packages rustc-web, rust-web-src and GNU_PACKAGES cannot be had" >&2
  exit 1
}
# The linker is told where its own files are: it is not installed.
linker="$edge/link-GNU_NAME"
tools="$edge/fs/usr/bin/GNU_NAME-"
libs="$edge/fs/usr/GNU_NAME/lib"
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %sgcc-12 -B%s/ -B%s -L%s "$@"\n' \
  "$libraries" "$tools" "$libs" "$tools" "$libs" >"$linker"
chmod +x "$linker"
RUSTC="$edge/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$edge/target" \
  RUSTFLAGS="-Clinker=$linker -Ctarget-feature=+crt-static -Cstrip=symbols" \
  cargo build --release --locked --target TRIPLE -Zbuild-std=std,panic_abort \
  -p spikelet --no-default-features --bin spikelet
cp "$edge/target/TRIPLE/release/spikelet" "$folder/spikelet"
echo "built: $folder/spikelet"
