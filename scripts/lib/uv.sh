# Sourced by scripts/setup: finds uv, or puts it into the private folder $cache.
# shellcheck shell=bash

readonly uv_version="0.13.5"

# The certificates this machine trusts, as apt and pip do; uv's own list has no company's proxy.
if [[ -r /etc/ssl/certs/ca-certificates.crt ]]; then
  export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
fi

# Sets $uv: the one on the PATH if it knows dependency groups, else a private one.
find_uv() {
  uv="$(command -v uv || true)"
  if [[ -n "$uv" ]] && "$uv" pip install --help 2>/dev/null | grep -q -- '--group'; then
    return
  fi
  uv="$cache/tools/bin/uv"
  if [[ "$("$uv" --version 2>/dev/null)" == "uv $uv_version"* ]]; then
    return
  fi
  say "Installing uv into .cache/ …"
  install_tool uv "uv==$uv_version" ||
    fail_with_log "uv could not be installed." \
      "It comes from the Python package index: is the network up?" \
      "Or install uv yourself, so that it is on the PATH."
}

# install_tool NAME REQUIREMENT: puts a command of a Python package into .cache/tools/bin.
install_tool() {
  local -r tools="$cache/tools"
  if ! [[ -x "$tools/bin/pip" ]] || ! "$tools/bin/python" -m pip --version >>"$log" 2>&1; then
    rm -rf "$tools"
    command -v python3 >/dev/null ||
      fail "python3 is missing." "On Debian: apt-get install python3 python3-venv"
    python3 -m venv "$tools" >>"$log" 2>&1 ||
      fail_with_log "python3 cannot make a virtual environment." \
        "On Debian: apt-get install python3-venv"
  fi
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check "$2" >>"$log" 2>&1 &&
    [[ -x "$tools/bin/$1" ]]
}
