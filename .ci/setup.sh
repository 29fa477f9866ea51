# Sourced by the scripts beside it: goes to the root of the checkout and has the functions that the scripts share.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null # no program that a script starts can wait for a person

# Programs that tests drive. If one is missing and cannot be installed, its tests are skipped and say so.
DEBIAN_PACKAGES=(
  adb mksh toybox # for measuring on an Android phone; the last two are the shell and the tools of a fake one
  openssh-client
  openssh-server # on loopback, for measuring over SSH
  chromium # headless, for measuring in a page
)

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

onnxruntime_web() {
  local folder="${XDG_CACHE_HOME:-$HOME/.cache}/model-factory/npm"
  local dist="$folder/node_modules/onnxruntime-web/dist"
  [ -z "${MODEL_FACTORY_ONNXRUNTIME_WEB:-}" ] || return 0
  [ -d "$dist" ] || npm install --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts onnxruntime-web ||
    { echo "not installed: onnxruntime-web" && return 0; }
  export MODEL_FACTORY_ONNXRUNTIME_WEB="$dist"
}
