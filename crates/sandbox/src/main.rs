//! One container of a pod, in namespaces of its own.

fn main() -> std::process::ExitCode {
    hauberk_sandbox::main()
}
