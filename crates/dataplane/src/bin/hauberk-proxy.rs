//! As the crate `proxy` has it, for the wheel.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    hauberk_proxy::command_line::main()
}
