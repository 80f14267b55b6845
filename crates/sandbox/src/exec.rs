//! A command in a running container: the same namespaces, the same restrictions.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Uid, setgroups, setresgid, setresuid};

use crate::error::{Context, Error, Result};
use crate::program::Program;
use crate::spec::{Spec, User};
use crate::state::State;
use crate::sys;
use crate::terminal::Terminal;

pub struct Request {
    pub state: PathBuf,
    /// The command controls a terminal of the container's own; standard input is the socket that its master is sent over.
    pub tty: bool,
    pub user: Option<User>,
    /// `NAME=VALUE`, over the container's own.
    pub env: Vec<String>,
    pub args: Vec<String>,
}

/// `UID:GID`.
pub fn parse_user(text: &str) -> Result<User> {
    let parsed = text
        .split_once(':')
        .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    let (uid, gid) =
        parsed.ok_or_else(|| Error::new(format!("--user: expected UID:GID, found {text:?}")))?;
    Ok(User {
        uid,
        gid,
        groups: Vec::new(),
    })
}

/// Runs the command; the result is its exit code, 128 + N if signal N ended it.
pub fn run(request: &Request) -> Result<u8> {
    let (pid, spec) = match State::read(&request.state)? {
        State::Running { pid, spec, .. } => (pid, Spec::read(&spec)?),
        State::Exited {
            exit_code,
            finished_at,
            ..
        } => {
            return Err(Error::new(format!(
                "expected a running container, found one that ended at {finished_at} with exit code {exit_code}"
            )));
        }
    };
    for directory in &spec.cgroups {
        let file = directory.join("cgroup.procs");
        std::fs::write(&file, "0").map_err(|e| Error::io("join the cgroup", &file, &e))?;
    }
    enter(pid)?;
    match sys::fork_single_threaded().context(|| "start the command's process".into())? {
        ForkResult::Child => {
            let error = become_command(request, &spec);
            eprintln!("hauberk-sandbox: {error}");
            std::process::exit(127)
        }
        ForkResult::Parent { child } => {
            match waitpid(child, None).context(|| "wait for the command".into())? {
                WaitStatus::Exited(_, code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
                WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as u8),
                other => Err(Error::new(format!(
                    "the command ended in a way nobody knows: {other:?}"
                ))),
            }
        }
    }
}

/// Enters the namespaces of init, the user namespace last: the others belong to the host's.
fn enter(pid: i32) -> Result<()> {
    let kinds = [
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("user", CloneFlags::CLONE_NEWUSER),
    ];
    let opened = kinds
        .iter()
        .map(|(name, flag)| {
            let path = format!("/proc/{pid}/ns/{name}");
            File::open(&path)
                .context(|| format!("open {path}; the container has ended"))
                .map(|file| (*name, file, *flag))
        })
        .collect::<Result<Vec<_>>>()?;
    for (name, file, flag) in opened {
        setns(file, flag).context(|| format!("enter the container's {name} namespace"))?;
    }
    setgroups(&[]).context(|| "drop the groups".into())?;
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))
        .context(|| "become group 0".into())?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))
        .context(|| "become user 0".into())
}

fn become_command(request: &Request, spec: &Spec) -> Error {
    let user = request.user.as_ref().unwrap_or(&spec.user);
    let mut env: BTreeMap<String, String> = spec.env.clone();
    for pair in &request.env {
        if let Some((name, value)) = pair.split_once('=') {
            env.insert(name.into(), value.into());
        }
    }
    if request.tty {
        env.entry("TERM".into()).or_insert_with(|| "xterm".into());
        let taken = Terminal::open(user).and_then(|terminal| {
            terminal.send_master(std::io::stdin().as_fd())?;
            terminal.control()
        });
        if let Err(error) = taken {
            return error;
        }
    }
    Program {
        args: &request.args,
        env,
        cwd: &spec.cwd,
        user,
        dies_with_parent: true,
    }
    .become_it(spec)
}
