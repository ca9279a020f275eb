#!/bin/sh
# Make a virtual environment with pip: tools/make_venv.sh FOLDER
set -eu
python=${PYTHON:-python3}
folder=$1

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "passband needs Python 3.11 or newer; found: $("$python" --version 2>&1 || echo none). Name another one: make PYTHON=python3.12 ..." >&2
    exit 2
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # Debian and Ubuntu keep these two standard modules in a package of their own.
    package=$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Python's venv module is missing: installing the system package $package" >&2
        apt-get update -qq && apt-get install -qq -y --no-install-recommends "$package" >/dev/null
    else
        echo "Python's venv module is missing; install it with: sudo apt install $package" >&2
        exit 2
    fi
fi
"$python" -m venv "$folder"
