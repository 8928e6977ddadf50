# Sourced by scripts/demo and scripts/test: a virtual environment beside this checkout.
# Made once, renewed when pyproject.toml changes; PYTHON names another interpreter than python3.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment="$root/.venv"
# Tests start more than a hundred Pythons: without compiled files each would compile the package again.
unset PYTHONDONTWRITEBYTECODE
python=${PYTHON:-python3}

pip_settings() {  # as uv reads them: it has its own, and with them gets other wheels, or none
    "$environment/bin/python" - << 'END'
import ast, shlex, subprocess, sys
names = {
    "index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_EXTRA_INDEX_URL", "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT", "trusted-host": "UV_INSECURE_HOST", "cert": "SSL_CERT_FILE",
}
listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
settings = [line.partition("=") for line in listed.stdout.splitlines()]
# Those of the environment count more than those of files, and are listed first.
for key, _, value in reversed(settings):
    if name := names.get(key.rpartition(".")[2]):
        words = ast.literal_eval(value).split()
        print(f"export {name}={shlex.quote((',' if name == 'UV_FIND_LINKS' else ' ').join(words))}")
END
}

install() {  # $1: what to install
    # uv unpacks 2 GB of wheels with a sixth of pip's work.
    local settings pip=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check)
    # As pip does it: the newest of all indexes.
    local uv=("$environment/bin/uv" pip install --quiet --index-strategy unsafe-best-match)
    if "${pip[@]}" --only-binary :all: uv 2> /dev/null && settings=$(pip_settings) && (
        eval "$settings"
        "${uv[@]}" --python "$environment/bin/python" --editable "$1"
    ); then
        return
    fi
    echo "uv cannot install it; pip does" >&2
    # Python compiles what is imported, when it is; all 13,000 files would take pip most of a minute.
    "${pip[@]}" --no-compile --no-warn-conflicts --editable "$1"
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

prepare_environment() {  # $1: extra to install with the package, e.g. "[dev]"
    if cmp -s "$environment/.installed$1" "$root/pyproject.toml"; then
        return
    fi
    make_environment
    echo "installing into $environment (once) ..."
    install "$root$1"
    cp "$root/pyproject.toml" "$environment/.installed$1"
}
