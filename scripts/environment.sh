# Sourced by scripts/demo and scripts/test: a virtual environment beside this checkout.
# Made once, renewed when pyproject.toml changes; PYTHON names another interpreter than python3.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment="$root/.venv"
# Tests start more than a hundred Pythons: without compiled files each would compile the package again.
unset PYTHONDONTWRITEBYTECODE
python=${PYTHON:-python3}

is_prepared() {  # $1: as below
    cmp -s "$environment/.installed$1" "$root/pyproject.toml"
}

install() {  # pip's arguments
    # Python compiles what is imported, when it is; all 13,000 files would take pip most of a minute.
    local quietly=(--no-compile --no-warn-conflicts --quiet --disable-pip-version-check)
    "$environment/bin/python" -m pip install "${quietly[@]}" "$@"
}

make_environment() {
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "$python is $("$python" --version 2>&1), expected Python 3.10 or newer; set PYTHON to one" >&2
        exit 1
    fi
    if "$environment/bin/python" -m pip --version > /dev/null 2>&1; then
        return
    fi
    if ! "$python" -m venv "$environment"; then
        echo "python3 cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
}

required_by() {  # $1: extras, separated by commas
    "$environment/bin/python" - "$root/pyproject.toml" "$1" << 'END'
import pathlib, sys
try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib
extras = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())["project"]["optional-dependencies"]
print(*(one for name in sys.argv[2].split(",") for one in extras[name]), sep="\n")
END
}

prepare_environment() {  # $1: extra to install with the package, e.g. "[dev]"
    if is_prepared "$1"; then
        return
    fi
    make_environment
    echo "installing into $environment (once) ..."
    install --editable "$root$1"
    cp "$root/pyproject.toml" "$environment/.installed$1"
}
