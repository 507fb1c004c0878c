#!/usr/bin/env bash
# build.sh WORKDIR [TARGET...]: builds the modules in testdata/ko from testdata/src, with kbuild, against Debian's kernel
# headers, each suite's in a root of that suite below WORKDIR. As root, on amd64; needs mmdebstrap, openssl, xz-utils, zstd.
# Without targets: all of them. See README.md for what comes out.
set -euo pipefail
work=$(mkdir -p "${1:?name a directory to work in}" && cd "$1" && pwd); shift
here=$(cd "$(dirname "$0")" && pwd)
export SOURCE_DATE_EPOCH=1767225600 KBUILD_BUILD_TIMESTAMP=2026-01-01 KBUILD_BUILD_USER=kotool KBUILD_BUILD_HOST=kotool
mirror=$(sed -n 's/^URIs: \(.*\/debian\)$/\1/p' /etc/apt/sources.list.d/debian.sources | head -1)

# name       suite     arch     flavour      kernel's ARCH  cross prefix            modules
table='
amd64-5.10   bullseye  amd64    amd64        x86_64         -                       all
amd64-6.1    bookworm  amd64    amd64        x86_64         -                       all
amd64-6.12   trixie    amd64    amd64        x86_64         -                       all
amd64-7.2    sid       amd64    amd64        x86_64         -                       all
arm64-6.1    bookworm  arm64    arm64        arm64          aarch64-linux-gnu       some
armhf-6.1    bookworm  armhf    armmp        arm            arm-linux-gnueabihf     some
s390x-6.1    bookworm  s390x    s390x        s390           s390x-linux-gnu         some
ppc64el-6.1  bookworm  ppc64el  powerpc64le  powerpc        powerpc64le-linux-gnu   some
i386-6.1     bookworm  i386     686          i386           i686-linux-gnu          some
mips64el-6.1 bookworm  mips64el 5kc-malta    mips           mips64el-linux-gnuabi64 some
mipsel-6.1   bookworm  mipsel   4kc-malta    mips           mipsel-linux-gnu        some
riscv64-7.2  sid       riscv64  riscv64      riscv          riscv64-linux-gnu       some
loong64-7.2  sid       loong64  loong64      loongarch      loongarch64-linux-gnu   some
'
compiler() { case $1 in bullseye) echo gcc-10;; bookworm) echo gcc-12;; trixie) echo gcc-14;; sid) echo "${SID_GCC:-gcc-16}";; esac; }

# root SUITE: a root in which that suite's kbuild runs, with the cross compilers of the table.
root() {
  local suite=$1 gcc inc prefix r=$work/root-$1
  [ -e "$r/.done" ] && return
  gcc=$(compiler "$suite")
  inc=$gcc,make,dash,bash,coreutils,sed,grep,mawk,findutils,diffutils,perl-base,kmod,xz-utils,linux-headers-amd64
  for prefix in $(awk -v s="$suite" '$2 == s && $6 != "-" {print $6}' <<< "$table"); do inc+=,$gcc-$prefix; done
  rm -rf "$r"
  mmdebstrap --quiet --variant=extract --architectures=amd64 --include="$inc" --aptopt='Acquire::Check-Valid-Until "false"' \
    "$suite" "$r" "deb $mirror $suite main"
  ln -sf mawk "$r/usr/bin/awk"
  mkdir -p "$r/proc"
  touch "$r/.done"
}

# headers SUITE ARCH FLAVOUR: unpacks that machine's headers of the version that the root has, and prints their release.
headers() {
  local suite=$1 arch=$2 flavour=$3 r=$work/root-$1 ver apt=$work/apt-$1-$2 o
  ver=$(basename "$(ls -d "$r"/usr/src/linux-headers-*-amd64 | sort -V | tail -1)"); ver=${ver#linux-headers-}; ver=${ver%-amd64}
  if [ ! -d "$r/usr/src/linux-headers-$ver-$flavour" ]; then
    mkdir -p "$apt"/{lists/partial,cache/archives/partial}; : > "$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$apt/list"
    [ "$suite" != sid ] && echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror}-security $suite-security main" >> "$apt/list"
    o=(-o "Dir::Etc::sourcelist=$apt/list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache"
       -o "Dir::State::status=$apt/status" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o Acquire::Languages=none)
    apt-get "${o[@]}" -qq update >&2
    (cd "$apt" && apt-get "${o[@]}" -qq download "linux-headers-$ver-$flavour") >&2
    dpkg-deb -x "$apt"/linux-headers-*.deb "$r"; rm "$apt"/linux-headers-*.deb
  fi
  echo "$ver-$flavour"
}

build() {
  local name=$1 suite=$2 arch=$3 flavour=$4 karch=$5 prefix=$6 which=$7 r rel gcc out cc make
  root "$suite"
  r=$work/root-$suite; gcc=$(compiler "$suite"); out=$here/ko/$name
  rel=$(headers "$suite" "$arch" "$flavour")
  cc=$gcc; make=(make -s -C "/usr/src/linux-headers-$rel" M=/b ARCH="$karch")
  if [ "$prefix" != - ]; then cc=$prefix-$gcc; make+=(CROSS_COMPILE="$prefix-"); fi
  rm -rf "$r/b"; cp -r "$here/src" "$r/b"
  mount -t proc proc "$r/proc"
  chroot "$r" "${make[@]}" CC="$cc" KBUILD_MODPOST_WARN=1 modules > "$work/make.log" 2>&1 ||
    { umount "$r/proc"; tail -20 "$work/make.log" >&2; return 1; }
  umount "$r/proc"
  local tools=; [ "$prefix" != - ] && tools=$prefix-
  local mods="hello hello_user"; [ "$which" = all ] && mods="hello hello_user paramkinds prop"
  [ "$which" = some ] && mods+=" paramkinds"
  for m in $mods; do chroot "$r" "${tools}objcopy" --strip-debug "/b/$m.ko"; done
  chroot "$r" "${tools}nm" -u $(printf '/b/%s.ko ' $mods) > "$work/undefined"
  rm -rf "$out"; mkdir -p "$out"
  for m in $mods; do cp "$r/b/$m.ko" "$out/"; done
  # Rows of the kernel's Module.symvers that these modules use, and those of their own exports.
  { echo module_layout; awk '$1 ~ /^[Uw]$/ {print $2}' "$work/undefined"; } | sort -u > "$work/wanted"
  awk -F'\t' 'NR == FNR {want[$1]; next} $2 in want' "$work/wanted" "$r/usr/src/linux-headers-$rel/Module.symvers" > "$out/kernel.symvers"
  sed 's/\t[^\t]*\/b\//\t/; s/\t\/b\//\t/' "$r/b/Module.symvers" > "$out/modules.symvers"
  echo "$name: $(ls "$out" | wc -l) files, release $rel"
}

# extras: the compressed and the signed forms of one module.
extras() {
  local out=$here/ko/amd64-6.1 key=$work/key.pem
  gzip -9nk "$out/hello.ko"
  xz -k --check=crc32 --lzma2=dict=1MiB "$out/hello.ko"
  zstd -q -19 "$out/hello.ko"
  openssl req -new -x509 -newkey rsa:2048 -nodes -days 36500 -sha256 -subj "/O=kotool/CN=kotool test key" -keyout "$key" -outform DER -out "$out/signing-key.der" 2> "$work/openssl.log"
  openssl x509 -inform DER -in "$out/signing-key.der" -out "$work/cert.pem"
  openssl cms -sign -binary -noattr -nocerts -nosmimecap -md sha256 -signer "$work/cert.pem" -inkey "$key" -in "$out/hello.ko" -outform DER -out "$work/sig"
  { cat "$out/hello.ko" "$work/sig"; printf '\0\0\2\0\0\0\0\0'; printf '%08x' "$(stat -c %s "$work/sig")" | sed 's/../\\x&/g' | xargs -0 printf '%b'
    printf '~Module signature appended~\n'; } > "$out/hello-signed.ko"
  rm "$key"
}

failed=0
while read -r name rest; do
  [ -n "$name" ] || continue
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  # shellcheck disable=SC2086
  build $name $rest < /dev/null || { echo "$name: failed" >&2; failed=1; }
  if [ "$name" = amd64-6.1 ]; then extras; fi
done <<< "$table"
exit $failed
