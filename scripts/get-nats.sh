#!/usr/bin/env bash
# Brings a nats-server of 2.12 or newer, which has atomic batches, and prints its path.
#
#   scripts/get-nats.sh [FOLDER] [SUITE]
#
# One on the PATH is taken when it is new enough, then one in the folder (default: ~/.cache/holdfast/nats, where the tests
# look). Otherwise the package of Debian's SUITE (default: sid) is unpacked there. The configuration of apt and the packages
# of the machine stay as they are, and nothing needs root.
set -euo pipefail

is_recent() {
  local version
  version=$("$1" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+' | head -n 1) || return 1
  [ "${version%%.*}" -gt 2 ] || { [ "${version%%.*}" -eq 2 ] && [ "${version#*.}" -ge 12 ]; }
}

found() {
  "$1" --version >&2
  echo "$1"
  exit 0
}

installed=$(command -v nats-server || true)
if [ -n "$installed" ] && is_recent "$installed"; then found "$installed"; fi

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/nats}
suite=${2:-sid}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
binary="$folder/usr/sbin/nats-server"
if is_recent "$binary"; then found "$binary"; fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "get-nats: no apt-get here: put a nats-server of 2.12 or newer on the PATH, or its path into HOLDFAST_NATS_SERVER" >&2
  exit 1
fi

# the mirror from which this machine takes its own packages
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
if [ -z "$mirror" ]; then
  echo "get-nats: apt names no mirror of packages here: put a nats-server of 2.12 or newer on the PATH, or its path into HOLDFAST_NATS_SERVER" >&2
  exit 1
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"/lists/partial "$scratch"/archives/partial
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
  >"$scratch/sources"
apt=(apt-get -qq
  -o Dir::Etc::SourceList="$scratch/sources"
  -o Dir::Etc::SourceParts=/dev/null
  -o Dir::State::Lists="$scratch/lists"
  -o Dir::Cache="$scratch"
  -o APT::Sandbox::User="$(id -un)")
"${apt[@]}" update >&2
(cd "$scratch" && "${apt[@]}" download nats-server >&2)
dpkg-deb -x "$scratch"/nats-server_*.deb "$folder"
if ! is_recent "$binary"; then
  echo "get-nats: Debian $suite has no nats-server of 2.12 or newer" >&2
  exit 1
fi
found "$binary"
