# Shared by scripts/run and scripts/test: sourced, not run. Expects `root`, the top of the tree.

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Runs a command as root, directly or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        return 1
    fi
}

# install_debian PACKAGE...: installs Debian packages.
install_debian() {
    have apt-get || fail "there is no apt-get to install it with: install $*"
    [ "$(id -u)" -eq 0 ] || have sudo || fail "installing it takes root or sudo: apt-get install $*"
    say "installing $* ..."
    # The package lists of a fresh machine may be absent or too old to fetch by.
    as_root apt-get update -qq || say "apt-get update failed; going on with the lists that are there"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ||
        fail "apt-get could not install $*"
}

# install_package PROGRAM PACKAGE...: installs the Debian packages unless the program is there.
install_package() {
    program=$1
    shift
    have "$program" && return 0
    say "$program is missing"
    install_debian "$@"
    have "$program" || fail "$* is installed but $program is not on the PATH"
}

# without_service COMMAND...: runs what installs packages, none of which may start its service meanwhile.
without_service() {
    (
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            # Debian asks this program before a package starts its service; 101 forbids it.
            trap 'as_root rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM
            as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy" || true
        fi
        "$@"
    ) || exit
}

# not_at_boot SERVICE: it is not started at the next boot.
not_at_boot() {
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable -q "$1" || say "the $1 service could not be disabled"
    fi
}

# install_service PROGRAM PACKAGE...: installs the packages unless the program is there. strata and its tests start
# servers of their own: the service that comes with the package is neither started now nor at the next boot. A program
# that was there stays as it is.
install_service() {
    have "$1" && return 0
    without_service install_package "$@"
    not_at_boot "$1"
}

# Installs redis-server and its tools.
install_redis() {
    install_service redis-server redis-server redis-tools
    install_package redis-cli redis-tools
}

# Installs PostgreSQL. Debian keeps its programs in a folder of each version.
install_postgres() {
    have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && return 0
    say "PostgreSQL is missing"
    without_service install_debian postgresql
    not_at_boot postgresql
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || fail "postgresql is installed but has no initdb"
}

# Rust, and the C toolchain that links its programs and compiles ring.
install_toolchain() {
    [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] && PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    have cargo || fail "cargo is missing: install Rust, as https://www.rust-lang.org/tools/install says"
    install_package cc gcc libc6-dev
}

# Where cargo puts what it builds, as an absolute path.
target_dir() {
    case ${CARGO_TARGET_DIR:-target} in
    /*) say "$CARGO_TARGET_DIR" ;;
    *) say "$root/${CARGO_TARGET_DIR:-target}" ;;
    esac
}
