# ./x image: OCI images of sp1d, built from Debian's packages without a container daemon. ./x sources this file.

image_usage() {
  cat <<'TEXT'
Usage: ./x image [x86-64-v3] [x86-64-v4] [--gpu] [--binary PATH]

Builds an OCI image of sp1d for each level of x86-64 that is named, by default for both. Each level compiles everything
again, which takes about 20 minutes on two cores.

  --gpu           build images for workers on GPUs, with SP1's CUDA provers and CUDA's runtime library (./x gpu). Their
                  names and tags end with -gpu
  --binary PATH   put this sp1d into the image and compile nothing. Name one level: that of the binary. With --gpu,
                  libcudart.so.* must be beside it

Writes target/image/sp1d-VERSION-LEVEL.oci.tar (an OCI layout) and, beside it, the bill of materials in the format
CycloneDX (.cdx.json). `podman load` names the image localhost/sp1d:VERSION-LEVEL. The same source, compiler and
packages give the same image: times are those of the last commit, or of SOURCE_DATE_EPOCH.
TEXT
}

# Debian's packages in the image: the libraries of sp1d, and the roots of TLS.
image_packages=(base-files ca-certificates libc6 libgcc-s1)
# Further packages with GPU support: SP1's CUDA provers are written in C++ and use OpenMP.
gpu_image_packages=(libgomp1 libstdc++6)
# The user of the image. Distroless images use the same number.
image_user=65532

image() {
  local levels=() binary='' variant=''
  while [ $# -gt 0 ]; do
    case $1 in
      x86-64-v3|x86-64-v4) levels+=("$1") ;;
      --gpu) variant=-gpu ;;
      --binary) binary=${2:?--binary needs a path}; shift ;;
      -h|--help) image_usage; return ;;
      *) image_usage >&2; exit 2 ;;
    esac
    shift
  done
  [ ${#levels[@]} -gt 0 ] || levels=(x86-64-v3 x86-64-v4)
  if [ -n "$binary" ]; then
    [ ${#levels[@]} = 1 ] || die "--binary needs one level: ./x image x86-64-v3 --binary PATH"
    case $binary in /*) ;; *) binary=$called_in/$binary ;; esac
    [ -f "$binary" ] || die "$binary is not a file"
  fi
  need umoci umoci
  need dpkg-deb dpkg
  need strip binutils
  python_tool 'cyclonedx-python-lib[json-validation]' 11.12.0 || die "cyclonedx-python-lib cannot be installed: see the error above"
  command -v cargo >/dev/null && [ -n "$binary" ] || setup
  local version epoch level built
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
  epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
  [[ $epoch =~ ^[0-9]+$ ]] || die "the time of the image is unknown: set SOURCE_DATE_EPOCH to a number of seconds"
  for level in "${levels[@]}"; do
    # Not as an argument below: the shell would ignore that the build has failed.
    built=$binary
    [ -n "$built" ] || built=$(packaging/build.sh "$level" ${variant:+--gpu})
    build_image "$level" "$version" "$epoch" "$built" "$variant"
  done
}

# build_image LEVEL VERSION EPOCH BINARY VARIANT: in a subshell, which removes its folder also if a step fails. VARIANT
# is empty, or -gpu for an image with GPU support.
build_image() (
  local level=$1 version=$2 epoch=$3 binary=$4 variant=$5
  local name=sp1d-$version-$level$variant work folder=target/image tag=$version-$level$variant cuda=''
  if [ -n "$variant" ]; then
    cuda=$(echo "$(dirname "$binary")"/libcudart.so.*)
    [ -f "$cuda" ] || die "CUDA's runtime library is not beside $binary: build both with \`./x gpu\`"
    image_packages+=("${gpu_image_packages[@]}")
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$folder"
  say "== packages of $name"; unpack_packages "$work/debs" "$work/base"
  say "== binary of $name"
  install -D -m 755 "$binary" "$work/program/usr/local/bin/sp1d"
  strip "$work/program/usr/local/bin/sp1d"
  # The program finds it in its own folder.
  if [ -n "$cuda" ]; then install -m 644 "$cuda" "$work/program/usr/local/bin/"; fi
  check_libraries "$work"
  say "== bill of materials"
  # For Linux only, and without development dependencies: what the binary contains.
  cargo tree --locked -p sp1d ${variant:+--features gpu} -e normal --target x86_64-unknown-linux-gnu --prefix none \
    --format '{p}|{l}' >"$work/crates"
  "$python_tools/bin/python" tools/sbom.py --version "$version" --level "$level$variant" --epoch "$epoch" --crates "$work/crates" \
    ${cuda:+--cuda "${cuda##*.so.}"} --lock Cargo.lock --packages "$work/base/var/lib/dpkg/status.d" --output "$work/sbom.json"
  install -D -m 644 "$work/sbom.json" "$work/program/usr/share/sp1d/sbom.cdx.json"
  say "== image"
  # The state folder is in the image, so that a new volume gets its owner and mode.
  install -d -m 700 "$work/state/var/lib/sp1d"
  layer "$epoch" 0 "$work/base" "$work/base.tar"
  layer "$epoch" 0 "$work/program" "$work/program.tar"
  layer "$epoch" "$image_user" "$work/state" "$work/state.tar" var/lib/sp1d
  assemble_image "$work" "$tag" "$level" "$version" "$epoch" "$variant"
  try_image "$work" "$tag" "$level"
  cp "$work/sbom.json" "$folder/$name.cdx.json"
  tar --create --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --file "$folder/$name.oci.tar" --directory "$work/layout" .
  say "$folder/$name.oci.tar"
)

# unpack_packages DEBS ROOT: downloads the packages and unpacks them, without running their scripts. Apt verifies their
# signatures.
unpack_packages() {
  local debs=$1 root=$2 deb package
  mkdir -p "$debs" "$root/usr"/{bin,sbin,lib,lib64}
  # Debian 12 unpacks packages into these links (merged /usr).
  for package in bin sbin lib lib64; do ln -s "usr/$package" "$root/$package"; done
  (cd "$debs" && apt-get -qq -o APT::Sandbox::User=root download "${image_packages[@]}") ||
    die "Debian's packages cannot be downloaded: run \`apt-get update\` as root"
  mkdir -p "$root/var/lib/dpkg/status.d"
  for deb in "$debs"/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar --extract --no-same-owner --keep-directory-symlink --directory "$root"
    # Scanners of images read these files.
    package=$(dpkg-deb --field "$deb" Package)
    dpkg-deb --field "$deb" >"$root/var/lib/dpkg/status.d/$package"
  done
  # No program reads these. The licenses of the packages stay.
  rm -rf "$root"/usr/share/{man,locale,info,lintian,base-files} "$root"/usr/lib/x86_64-linux-gnu/gconv "$root"/usr/sbin/*
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  find "$root/usr/share/doc" -type d -empty -delete
  # What the scripts of the packages would do.
  mkdir -p "$root/etc/ssl/certs"
  LC_ALL=C bash -c 'cat "$1"/usr/share/ca-certificates/mozilla/*.crt' _ "$root" >"$root/etc/ssl/certs/ca-certificates.crt"
  printf 'root:x:0:0:root:/root:/usr/sbin/nologin\nsp1d:x:%s:%s:sp1d:/var/lib/sp1d:/usr/sbin/nologin\n' "$image_user" "$image_user" >"$root/etc/passwd"
  printf 'root:x:0:\nsp1d:x:%s:\n' "$image_user" >"$root/etc/group"
  printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
  install -d -m 1777 "$root/tmp" "$root/var/tmp"
  chmod -R go-w "$root/etc" "$root/usr"
}

# Fails if the binary needs a library that the image lacks, or a newer one.
check_libraries() {
  local root=$1/base output
  output=$("$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" --list "$1/program/usr/local/bin/sp1d" 2>&1) ||
    die "the binary does not fit the libraries of the image: $output"
  if grep -v -e "$root/" -e "$1/program/" -e linux-vdso -e ld-linux <<<"$output" >&2; then
    die "the image lacks the libraries above: add their packages to image_packages in tools/image.sh"
  fi
}

# layer EPOCH OWNER FOLDER TAR [PATH…]: packs a folder so that the same files give the same bytes.
layer() {
  local epoch=$1 owner=$2 folder=$3 tar=$4; shift 4
  [ $# -gt 0 ] || set -- .
  tar --create --sort=name --format=gnu --mtime="@$epoch" --owner="$owner" --group="$owner" --numeric-owner --file "$tar" --directory "$folder" "$@"
}

# assemble_image WORK TAG LEVEL VERSION EPOCH VARIANT
assemble_image() {
  local work=$1 tag=$2 level=$3 version=$4 epoch=$5 variant=$6 part created image=$1/layout:$2
  created=$(date --utc --date="@$epoch" +%Y-%m-%dT%H:%M:%SZ)
  umoci init --layout "$work/layout"
  umoci new --image "$image"
  for part in base program state; do
    umoci raw add-layer --image "$image" --history.created "$created" --history.created_by "./x image: $part" "$work/$part.tar"
  done
  local repository revision description pair pairs=() flags=()
  repository=$(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml | head -n1)
  description=$(sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml | head -n1)
  revision=$(git rev-parse HEAD 2>/dev/null || true)
  pairs=(
    "title=sp1d" "description=$description" "version=$version" "created=$created" "source=$repository"
    "documentation=$repository/tree/v$version/docs" "licenses=MIT OR Apache-2.0" "ref.name=$tag"
  )
  [ -z "$revision" ] || pairs+=("revision=$revision")
  for pair in "${pairs[@]}"; do
    flags+=(--config.label "org.opencontainers.image.$pair" --manifest.annotation "org.opencontainers.image.$pair")
  done
  # NVIDIA's container runtime mounts the driver's libraries that this names: CUDA, and NVML for the readings. It decides
  # nothing about the GPUs of a container: a service that runs from this image needs none.
  [ -z "$variant" ] || flags+=(--config.env NVIDIA_DRIVER_CAPABILITIES=compute,utility)
  umoci config --image "$image" --no-history --created "$created" --os linux --architecture amd64 "${flags[@]}" \
    --config.label "sp1d.target-cpu=$level" \
    --config.user "$image_user:$image_user" --config.workingdir /var/lib/sp1d --config.volume /var/lib/sp1d \
    --config.env HOME=/var/lib/sp1d --config.env TMPDIR=/tmp --config.env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    --config.exposedports 8090/tcp --config.exposedports 8091/tcp --config.stopsignal SIGTERM \
    --config.entrypoint /usr/local/bin/sp1d --config.cmd --help
  umoci gc --layout "$work/layout"
  # After the last change by umoci, which does not know this annotation.
  "$python_tools/bin/python" -c "$name_image" "$work/layout/index.json" "localhost/sp1d:$tag"
}

# The name that `podman load`, `docker load` and containerd give to the image. Without it, podman takes the tag for the
# name. A registry, and `oci-archive:PATH:TAG` of skopeo and podman, use the tag alone.
name_image='
import json, sys
path, name = sys.argv[1:]
with open(path) as file:
    index = json.load(file)
[image] = index["manifests"]
image["annotations"]["io.containerd.image.name"] = name
with open(path, "w") as file:
    json.dump(index, file, separators=(",", ":"))
'

# try_image WORK TAG LEVEL: unpacks the image and starts its program in it, as its user if we are root.
try_image() {
  local work=$1 tag=$2 level=$3 enter=() rootless=(--rootless) levels
  # The dynamic linker knows the levels that this processor supports.
  levels=$("$work/base/lib64/ld-linux-x86-64.so.2" --help)
  if [[ $levels != *"  $level (supported"* ]]; then
    say "the image was NOT tried: this processor does not support $level"; return
  fi
  if [ "$(id -u)" = 0 ]; then enter=(chroot --userspec="$image_user:$image_user"); rootless=()
  elif unshare --user --map-root-user true 2>/dev/null; then enter=(unshare --user --map-root-user chroot)
  else say "the image was NOT tried: this user may not change the root folder"; return
  fi
  umoci unpack "${rootless[@]}" --image "$work/layout:$tag" "$work/bundle" 2>/dev/null
  local root=$work/bundle/rootfs printed
  # Without /proc, the dynamic linker does not know the folder of the program, where CUDA's runtime library is.
  printed=$(LD_ORIGIN_PATH=/usr/local/bin "${enter[@]}" "$root" /usr/local/bin/sp1d --version) ||
    die "the program of the image does not start"
  [ "$(stat --format=%a "$root/var/lib/sp1d")" = 700 ] || die "the state folder of the image has another mode than 700"
  say "tried: ${printed%%$'\n'*}"
}
