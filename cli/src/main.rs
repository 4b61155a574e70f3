//! The `tengyun` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tengyun::main()
}
