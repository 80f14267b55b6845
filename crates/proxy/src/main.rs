//! The data plane of one pod: every byte of every call.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    hauberk_proxy::command_line::main()
}
