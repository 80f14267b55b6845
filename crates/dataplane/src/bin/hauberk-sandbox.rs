//! As the crate `sandbox` has it, for the wheel.

fn main() -> std::process::ExitCode {
    hauberk_sandbox::main()
}
