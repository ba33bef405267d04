#!/bin/sh
# Installs the library for C and C++, as `make install` does:
#
#   install.sh LIBRARY PREFIX        DESTDIR in the environment is put before PREFIX
#
#   include/sampled_softmax.h, include/sampled_softmax.hpp
#   lib/libsampled_softmax.so -> .so.MAJOR -> .so.VERSION
#   lib/pkgconfig/sampled_softmax.pc
#   lib/cmake/sampled_softmax/
#   share/licenses/sampled_softmax/LICENSE, THIRD_PARTY.txt
set -eu
[ $# -eq 2 ] || { echo "usage: install.sh LIBRARY PREFIX" >&2; exit 2; }
library=$1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
case $2 in
/*) ;;
*)
    echo "install.sh: PREFIX must be an absolute path, not '$2'" >&2
    exit 2
    ;;
esac
for file in "$library" "$(dirname "$library")/THIRD_PARTY.txt"; do
    [ -f "$file" ] || { echo "install.sh: there is no $file: run make build first" >&2; exit 1; }
done

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
major=${version%%.*}
to=${DESTDIR:-}$2
package=$to/lib/cmake/sampled_softmax

install -d "$to/include" "$to/lib/pkgconfig" "$package" "$to/share/licenses/sampled_softmax"
install -m 644 "$root/LICENSE" "$(dirname "$library")/THIRD_PARTY.txt" "$to/share/licenses/sampled_softmax"
install -m 644 "$root/include/sampled_softmax.h" "$root/bindings/cpp/sampled_softmax.hpp" "$to/include"
# Through a temporary name: a program that runs with the old library keeps it.
install -m 755 "$library" "$to/lib/.libsampled_softmax.so.$version"
mv -f "$to/lib/.libsampled_softmax.so.$version" "$to/lib/libsampled_softmax.so.$version"
ln -sfn "libsampled_softmax.so.$version" "$to/lib/libsampled_softmax.so.$major"
ln -sfn "libsampled_softmax.so.$major" "$to/lib/libsampled_softmax.so"

fill() { sed -e "s/@VERSION@/$version/g" -e "s/@MAJOR@/$major/g" "$here/$1.in" >"$2/$1" && chmod 644 "$2/$1"; }
fill sampled_softmax.pc "$to/lib/pkgconfig"
fill sampled_softmaxConfig.cmake "$package"
fill sampled_softmaxConfigVersion.cmake "$package"
