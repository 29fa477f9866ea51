# Sourced by the scripts beside it: goes to the root of the checkout and has the functions that the scripts share.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null # no program that a script starts can wait for a person

# Programs that tests drive. If one is missing and cannot be installed, its tests are skipped and say so.
DEBIAN_PACKAGES=(
  adb mksh toybox # for measuring on an Android phone; the last two are the shell and the tools of a fake one
  openssh-client
  openssh-server # on loopback, for measuring over SSH
  chromium # headless, for measuring in a page
  default-jre-headless libjna-java # for the Kotlin client, which calls ONNX Runtime through JNA
  postgresql # on loopback, for searches with several workers
)
# From npm: the engine in a page, and the compilers of the TypeScript and Kotlin clients.
NPM_PACKAGES=(onnxruntime-web typescript@5 @types/node@20 kotlin-compiler@2.4)

step() {
  echo "== $1 ($(date -u +%H:%M:%S)) =="
  shift
  "$@"
}

programs() {
  local missing=() package
  for package in "${DEBIAN_PACKAGES[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ]; then
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } \
      >/dev/null || echo "not installed: ${missing[*]}"
  fi
}

# A folder of packages that a person names is used as it is.
npm_packages() {
  local folder="${MODEL_FACTORY_NPM:-${XDG_CACHE_HOME:-$HOME/.cache}/model-factory/npm}"
  local missing=() package
  for package in "${NPM_PACKAGES[@]}"; do
    [ -n "${MODEL_FACTORY_NPM:-}" ] || [ -d "$folder/node_modules/${package%@*}" ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] ||
    npm install --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts "${missing[@]}" ||
    echo "not installed: ${missing[*]}"
  export MODEL_FACTORY_NPM="$folder"
  local dist="$folder/node_modules/onnxruntime-web/dist"
  [ -n "${MODEL_FACTORY_ONNXRUNTIME_WEB:-}" ] || [ ! -d "$dist" ] || export MODEL_FACTORY_ONNXRUNTIME_WEB="$dist"
}
