//! The command line of the proxy.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::bootstrap::Bootstrap;
use crate::{explain, node, process};

const USAGE: &str = "\
usage: hauberk-proxy --bootstrap FILE
       hauberk-proxy explain < QUESTION

Serves one pod: takes its calls, proves who calls whom, asks the policies, and forwards.

  explain           say what a proxy would do with a call, as JSON, and why; the question, on standard input, has the
                    proxy's resources with it (crates/proxy/src/explain.rs)
  --bootstrap FILE  what to start from (docs/architecture.md, \"Proxy: command line and bootstrap\")
  --version         print the version
  --help            print this

HAUBERK_LOG sets what is logged to standard error, as `info` or `hauberk_proxy=debug,warn`.
Exit code: 0 ended as asked, 1 failed, 2 wrong command line or bootstrap file.
";

/// Runs the program as its arguments say.
pub fn main() -> ExitCode {
    match command(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Command::Version) => {
            println!("hauberk-proxy {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Command::Explain) => explain(),
        Ok(Command::Run(path)) => run(&path),
        Err(reason) => {
            eprintln!("hauberk-proxy: {reason}; try --help");
            ExitCode::from(2)
        }
    }
}

fn explain() -> ExitCode {
    let answer = std::io::read_to_string(std::io::stdin())
        .map_err(|error| format!("standard input: {error}"))
        .and_then(|question| explain::answer(&question));
    match answer {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("hauberk-proxy: {reason}");
            ExitCode::from(2)
        }
    }
}

fn run(path: &std::path::Path) -> ExitCode {
    let bootstrap = match Bootstrap::read(path) {
        Ok(bootstrap) => bootstrap,
        Err(error) => {
            eprintln!("hauberk-proxy: {error}");
            return ExitCode::from(2);
        }
    };
    match process::run(bootstrap, |bootstrap| {
        let node = node::of(&bootstrap.node);
        let (client, snapshots) = hauberk_xds::Client::new(node, bootstrap.xds.clone());
        tokio::task::spawn_local(client.run());
        Ok(snapshots)
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hauberk-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Command {
    Help,
    Version,
    Explain,
    Run(PathBuf),
}

fn command(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<Command, String> {
    let mut bootstrap = None;
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Command::Help),
            Some("--version" | "-V") => return Ok(Command::Version),
            Some("explain") if bootstrap.is_none() => return Ok(Command::Explain),
            Some("--bootstrap") => {
                let path = arguments.next().ok_or("--bootstrap expects a file")?;
                bootstrap = Some(PathBuf::from(path));
            }
            _ => return Err(format!("unknown argument {}", argument.display())),
        }
    }
    bootstrap
        .map(Command::Run)
        .ok_or_else(|| "expected --bootstrap FILE".into())
}
