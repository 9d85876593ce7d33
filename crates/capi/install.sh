#!/bin/sh
# Installs the header, both libraries and the pkg-config file. Build first:
#
#     cargo build --release -p deadpeer-capi
#     crates/capi/install.sh --prefix /usr/local          (with DESTDIR for packagers)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local
built=${CARGO_TARGET_DIR:-$here/../../target}/release

while [ $# -gt 0 ]; do
  case $1 in
    --prefix) prefix=${2:?"--prefix needs a directory"}; shift 2 ;;
    --built) built=${2:?"--built needs a directory"}; shift 2 ;;
    *) echo "usage: install.sh [--prefix DIRECTORY] [--built DIRECTORY]" >&2; exit 2 ;;
  esac
done

case $prefix in
  /*) ;;
  *) echo "install.sh: --prefix must be absolute, and $prefix is not" >&2; exit 2 ;;
esac
if [ ! -f "$built/libdeadpeer.so" ]; then
  echo "install.sh: no libdeadpeer.so in $built: cargo build --release -p deadpeer-capi" >&2
  exit 1
fi

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' "$here/../../Cargo.toml")
case $version in
  0.*) soname=libdeadpeer.so.${version%.*} ;;
  *) soname=libdeadpeer.so.${version%%.*} ;;
esac
to=${DESTDIR:-}$prefix
mkdir -p "$to/include" "$to/lib/pkgconfig"
install -m 644 "$here/include/deadpeer.h" "$to/include/"
install -m 644 "$built/libdeadpeer.a" "$to/lib/"
install -m 755 "$built/libdeadpeer.so" "$to/lib/libdeadpeer.so.$version"
ln -sf "libdeadpeer.so.$version" "$to/lib/$soname"
ln -sf "$soname" "$to/lib/libdeadpeer.so"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$here/deadpeer.pc.in" >"$to/lib/pkgconfig/deadpeer.pc"
