# Sourced by scripts/setup: finds or fetches a Python that is new enough for Home Assistant.
# Everything fetched stays in the private folder $cache; nothing of the system is changed.
# shellcheck shell=bash

readonly python_series="3.14"
readonly python_minimum="3.14.2"

# find_python: sets $python to an interpreter that is good enough, or fails with what to do.
find_python() {
  if python="$(python_at_hand)"; then
    say "Using $python"
    return
  fi
  if python="$(uv_python)"; then
    say "Using the Python ${python_series} that uv provides"
    return
  fi
  # shellcheck source=scripts/lib/debian_python.sh
  . "$root/scripts/lib/debian_python.sh"
  if debian_python; then
    say "Using Debian's Python ${python_series}, unpacked into .cache/"
    return
  fi
  fail "there is no Python ${python_minimum} or newer, and none could be fetched." \
    "Install Python ${python_minimum} or newer with its headers, so that 'python${python_series}' is on the PATH, and start again." \
    "What was tried is in .cache/setup.log."
}

# Prints the interpreter that this checkout uses already, or the one on the PATH.
python_at_hand() {
  local -r debian="$cache/debian/tree/usr/bin/python${python_series}"
  local candidate
  for candidate in "$root/.venv/bin/python" "$(command -v "python${python_series}")" "$debian"; do
    if [[ -x "$candidate" ]] && python_is_good "$candidate"; then
      # It may be a link, a shim or a virtual environment; this is the real one.
      "$candidate" -c 'import os, sys; print(os.path.realpath(sys._base_executable))'
      return
    fi
  done
  return 1
}

# Good enough: the version, and the headers that two dependencies are compiled with.
python_is_good() {
  "$1" - "$python_minimum" >>"$log" 2>&1 <<'PYTHON'
import ensurepip, pathlib, ssl, sqlite3, sys, sysconfig, venv

minimum = tuple(int(part) for part in sys.argv[1].split("."))
if sys.version_info[:3] < minimum:
    sys.exit(f"{sys.executable} is older than {sys.argv[1]}")
if not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists():
    sys.exit(f"{sys.executable} has no headers (Python.h)")
PYTHON
}

# Prints the interpreter that uv has or can download. Its source is not reachable everywhere,
# and then Debian's comes next, so a dead network is given up on soon.
uv_python() {
  local found
  export UV_PYTHON_INSTALL_DIR="$cache/python"
  say "Asking uv for Python ${python_series} …"
  UV_HTTP_CONNECT_TIMEOUT=10 UV_HTTP_RETRIES=1 timeout 300 \
    "$uv" python install --no-bin "$python_series" >>"$log" 2>&1 || {
    say "  uv could not download one."
    return 1
  }
  found="$("$uv" python find --no-config --managed-python "$python_series" 2>>"$log")" || return 1
  python_is_good "$found" || return 1
  printf '%s\n' "$found"
}
