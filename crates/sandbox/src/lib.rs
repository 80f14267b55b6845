//! Runs one container of a pod in namespaces of its own, keeps its log and its exit code; runs commands in it; and
//! launches a pod's proxy with no privilege but over its gate.

mod capability;
mod control;
mod error;
mod exec;
mod init;
mod log;
mod monitor;
mod place;
mod program;
mod proxy;
mod root;
mod seccomp;
mod spec;
mod state;
mod sys;
mod terminal;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use error::{Error, Result};

const USAGE: &str = "\
hauberk-sandbox: one container of a pod, in namespaces of its own

  hauberk-sandbox run --spec FILE
      Runs the container that FILE (JSON) describes and stays until it ends.
  hauberk-sandbox exec --state FILE [--tty] [--user UID:GID] [--env NAME=VALUE]... -- PROGRAM [ARGUMENT]...
      Runs a command in a running container; ends with its exit code. With --tty, standard input is a Unix socket: the
      command gets a terminal of the container's, whose other end is sent over the socket.
  hauberk-sandbox proxy --netns PATH --directory DIR --uid N -- BINARY [ARGUMENT]...
      Becomes BINARY in that network namespace as user N, seeing DIR and the system's libraries only.

Examples:
  hauberk-sandbox run --spec /var/lib/hauberk/default/node/pods/UID/containers/web/0/spec.json
  hauberk-sandbox exec --state /var/lib/hauberk/default/node/pods/UID/containers/web/0/state.json -- /bin/ls

Exit codes: the program's own, 128 + N when signal N ended it, 125 when the sandbox itself failed.
";

const FAILED: u8 = 125;

/// Runs the program as its arguments say.
pub fn main() -> ExitCode {
    match command(std::env::args().skip(1).collect()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Not `eprintln!`, which panics when this leads to a full disk.
            let _ = writeln!(std::io::stderr(), "hauberk-sandbox: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn command(arguments: Vec<String>) -> Result<u8> {
    let mut options = Options::parse(arguments)?;
    sys::close_others_on_exec()
        .map_err(|e| Error::new(format!("cannot close what was left open: {e}")))?;
    match options.verb.as_str() {
        "run" => monitor::run(&options.path("--spec")?),
        "exec" => exec::run(&exec::Request {
            state: options.path("--state")?,
            tty: options.flag("--tty"),
            user: options
                .optional("--user")
                .map(|text| exec::parse_user(&text))
                .transpose()?,
            env: options.every("--env"),
            args: options.rest()?,
        }),
        "proxy" => {
            let request = proxy::Request {
                netns: options.path("--netns")?,
                directory: options.path("--directory")?,
                uid: options
                    .required("--uid")?
                    .parse()
                    .map_err(|_| Error::new("--uid: expected a number"))?,
                args: options.rest()?,
            };
            Err(proxy::become_it(&request))
        }
        "--help" | "-h" | "help" => {
            print!("{USAGE}");
            Ok(0)
        }
        "--version" => {
            println!("hauberk-sandbox {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
        other => Err(Error::new(format!(
            "expected run, exec or proxy, found {other:?}\n\n{USAGE}"
        ))),
    }
}

/// `VERB --name value … -- rest`.
struct Options {
    verb: String,
    named: Vec<(String, String)>,
    rest: Vec<String>,
}

impl Options {
    fn parse(arguments: Vec<String>) -> Result<Self> {
        let mut arguments = arguments.into_iter();
        let verb = arguments.next().unwrap_or_else(|| "--help".into());
        let mut options = Options {
            verb,
            named: Vec::new(),
            rest: Vec::new(),
        };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--" => options.rest = arguments.by_ref().collect(),
                "--tty" => options.named.push((name, String::new())),
                _ if name.starts_with("--") => {
                    let value = arguments
                        .next()
                        .ok_or_else(|| Error::new(format!("{name}: expected a value")))?;
                    options.named.push((name, value));
                }
                _ => {
                    return Err(Error::new(format!(
                        "expected an option, found {name:?}; try --help"
                    )));
                }
            }
        }
        Ok(options)
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.named
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    }

    fn every(&self, name: &str) -> Vec<String> {
        self.named
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    fn required(&self, name: &str) -> Result<String> {
        self.optional(name)
            .ok_or_else(|| Error::new(format!("{} needs {name}; try --help", self.verb)))
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        self.required(name).map(PathBuf::from)
    }

    fn flag(&self, name: &str) -> bool {
        self.optional(name).is_some()
    }

    fn rest(&mut self) -> Result<Vec<String>> {
        if self.rest.is_empty() {
            return Err(Error::new(format!(
                "{} needs a program after `--`; try --help",
                self.verb
            )));
        }
        Ok(std::mem::take(&mut self.rest))
    }
}
