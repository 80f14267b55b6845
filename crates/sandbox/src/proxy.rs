//! The launch of a pod's proxy: in its gate, as a user of its own, with one capability and almost nothing to see.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{fstat, stat};
use nix::unistd::{Gid, Uid, execve, setgroups, setresgid, setresuid};

use crate::capability::{self, NET_ADMIN};
use crate::error::{Context, Error, Result};
use crate::root;
use crate::seccomp;
use crate::sys;

/// Open files: two for each connection, and the 8,000 connections of one pod leave room.
const FILES: u64 = 65_536;

pub struct Request {
    pub netns: PathBuf,
    /// Where it may make files, if the node lets its group do so: all that it sees beside its binary.
    pub directory: PathBuf,
    pub uid: u32,
    pub args: Vec<String>,
}

/// Raises the limit of open files to `FILES`, or as far as this process may: not every root holds CAP_SYS_RESOURCE.
fn raise_file_limit() -> Result<()> {
    let (_, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).context(|| "read the limit of open files".into())?;
    if hard >= FILES || setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES).is_err() {
        let most = hard.min(FILES);
        setrlimit(Resource::RLIMIT_NOFILE, most, most)
            .context(|| format!("set the limit of open files to {most}"))?;
    }
    Ok(())
}

/// The user namespace that the gate belongs to, which must not be the machine's.
fn owner_of(netns: &File, request: &Request) -> Result<OwnedFd> {
    let owner = sys::owner_of_namespace(netns.as_raw_fd())
        .context(|| format!("find the owner of {}", request.netns.display()))?;
    let ours = stat("/proc/self/ns/user").context(|| "look at our user namespace".into())?;
    let found = fstat(&owner).context(|| "look at the gate's user namespace".into())?;
    if (ours.st_dev, ours.st_ino) == (found.st_dev, found.st_ino) {
        return Err(Error::new(format!(
            "--netns {}: expected a network namespace that belongs to a user namespace of its own, \
             found one of the machine's, over which the proxy must hold nothing",
            request.netns.display()
        )));
    }
    Ok(owner)
}

/// Becomes the proxy. Returns only on failure.
pub fn become_it(request: &Request) -> Error {
    match try_become(request) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn try_become(request: &Request) -> Result<std::convert::Infallible> {
    if request.uid == 0 {
        return Err(Error::new(
            "--uid: expected a user of the proxy's own, found 0, which is root",
        ));
    }
    let binary = std::fs::canonicalize(&request.args[0])
        .context(|| format!("find the proxy's binary {}", request.args[0]))?;
    let netns =
        File::open(&request.netns).context(|| format!("open {}", request.netns.display()))?;
    let owner = owner_of(&netns, request)?;
    setns(&netns, CloneFlags::CLONE_NEWNET).context(|| "enter the gate".into())?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .context(|| "make the proxy's namespaces".into())?;
    root::make_private()?;
    root::enter_minimal(&binary, &request.directory)?;

    raise_file_limit()?;
    // Last of the namespaces: what is held from here on is held over the gate alone.
    setns(owner, CloneFlags::CLONE_NEWUSER)
        .context(|| "enter the user namespace of the gate".into())?;
    capability::bound(NET_ADMIN)?;
    sys::keep_capabilities().context(|| "keep a capability over the change of user".into())?;
    setgroups(&[]).context(|| "drop the groups".into())?;
    let (uid, gid) = (Uid::from_raw(request.uid), Gid::from_raw(request.uid));
    setresgid(gid, gid, gid).context(|| format!("become group {gid}"))?;
    setresuid(uid, uid, uid).context(|| format!("become user {uid}"))?;
    capability::set(NET_ADMIN)?;
    capability::raise_ambient(NET_ADMIN)?;
    sys::set_no_new_privileges().context(|| "set no_new_privs".into())?;
    seccomp::restrict_proxy()?;

    let arguments = std::iter::once(binary.to_string_lossy().into_owned())
        .chain(request.args[1..].iter().cloned())
        .map(|text| CString::new(text).map_err(|_| Error::new("arguments: expected no NUL byte")))
        .collect::<Result<Vec<_>>>()?;
    let env = std::env::vars()
        .filter(|(name, _)| {
            name.starts_with("HAUBERK_") || name == "RUST_BACKTRACE" || name == "GRPC_VERBOSITY"
        })
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect::<Vec<_>>();
    execve(&arguments[0], &arguments, &env).context(|| format!("run {}", binary.display()))
}
