# The checks of this project. `just check` before every submission.

# Lists the recipes.
default:
    @just --list

# Everything a submission must pass.
check: fmt clippy test doc deny

# Formatting.
fmt:
    cargo fmt --all --check

# Lints, as errors.
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Every test; those that lack root or a kernel feature say so and are skipped.
test:
    cargo test --workspace --locked

# Many new histories for the engine's properties: a night's search for what the tests do not show.
histories cases="100000":
    PROPTEST_CASES={{cases}} cargo test --release --locked -p tengyun-engine --test engine property

# Documentation without broken links.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Licences, bans and sources of dependencies, where cargo-deny is installed.
deny:
    @if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; else echo "cargo-deny is not installed: cargo install --locked cargo-deny"; fi

# The agent's cost beside the physical floors.
bench-agent:
    cargo bench -p tengyun-agent --bench agent

# Time from submission to running with 100 instances on one node.
bench-submit:
    cargo build --release --workspace --locked
    cargo bench -p tengyun-tests --bench submit

# The city's story three times (root): the medians that docs/demo.md quotes.
bench-demo:
    cargo build --release --workspace --locked
    for _ in 1 2 3; do target/release/tengyun demo --output json || true; done

# Packages and the offline bundle in target/package, by the tools of the distribution (dpkg-dev, rpm) or
# by cargo-deb and cargo-generate-rpm.
package by="distribution":
    if [ "{{by}}" = cargo ]; then .ci/tools; fi
    cargo build --release --workspace --locked
    systemd/package/build --by {{by}} target/package

# The units' lines and exposure.
units:
    systemd/check

# The packages on a real systemd in a virtual machine (root): `short` as CI does, or `long`.
vm form="long":
    cargo build --release --workspace --locked
    cargo test --workspace --locked --test running --no-run
    tests/vm/run {{form}}
