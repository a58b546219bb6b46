# The Debian 12 packages Sandkey needs, by purpose; docs/dependencies.md gives the reason for each.
# Sourced by scripts/setup.
# shellcheck shell=sh disable=SC2034

# To configure, compile and link everything, and to run the demo.
packages_build="
  ca-certificates cmake g++ git make ninja-build pkg-config
  libboost1.81-dev libcli11-dev libcurl4-openssl-dev libfmt-dev libgrpc++-dev libnghttp2-dev libprotobuf-dev
  libsqlite3-dev libssl-dev libtomlplusplus-dev protobuf-compiler protobuf-compiler-grpc zlib1g-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  bubblewrap ipython3 python3
"

# To run the tests, the checks and the demo.
packages_test="
  busybox-static clang-14 clang-format-14 curl dpkg-dev iproute2 libclang-rt-14-dev nginx-light openssl passt tmux
"

# Faster builds and the slower checks; nothing fails without them, and what is skipped says so.
packages_optional="
  ccache clang-tidy-14
  dbus libsecret-1-0 python3-dbus python3-gi
  python3-venv
"
# Debian's npm brings hundreds of packages along; a Node.js from elsewhere does as well.
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  packages_optional="$packages_optional nodejs npm"
fi
