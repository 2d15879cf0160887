# Tools from PyPI. ./x sources this file.

# They have an environment of their own, outside the source tree, so that a fresh clone finds it.
python_tools=$tools/python

# python_tool PACKAGE VERSION [NAME]: installs a tool from PyPI when it is missing. NAME is the package with its extras.
# Fails if that is impossible, for example without a network.
python_tool() {
  local package=$1 version=$2 name=${3:-$1} found=$python_tools/$1-$2
  [ -e "$found" ] && return
  say "$package $version is missing: installing it to $python_tools (once)"
  need python3 python3
  if ! python3 -m venv "$python_tools" >/dev/null 2>&1; then
    add_packages python3-venv || return 1
    python3 -m venv "$python_tools" || return 1
  fi
  "$python_tools/bin/pip" install --quiet --disable-pip-version-check "$name==$version" && touch "$found"
}
