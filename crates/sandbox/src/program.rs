//! From a fresh process in the container's namespaces to the container's program.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, chdir, execve, setgroups, setresgid, setresuid};

use crate::capability;
use crate::error::{Context, Error, Result};
use crate::seccomp;
use crate::spec::{Spec, User};
use crate::sys;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run, and as whom.
pub struct Program<'a> {
    pub args: &'a [String],
    pub env: BTreeMap<String, String>,
    pub cwd: &'a Path,
    pub user: &'a User,
    /// It is killed when the process that started it ends: a command goes with whoever waits for it.
    pub dies_with_parent: bool,
}

impl<'a> Program<'a> {
    pub fn of(spec: &'a Spec) -> Self {
        Program {
            args: &spec.args,
            env: spec.env.clone(),
            cwd: &spec.cwd,
            user: &spec.user,
            dies_with_parent: false,
        }
    }

    /// Gives up what the specification does not grant and becomes the program. Returns only on failure.
    pub fn become_it(&self, spec: &Spec) -> Error {
        match self.try_become(spec) {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    fn try_become(&self, spec: &Spec) -> Result<std::convert::Infallible> {
        let mut env = self.env.clone();
        env.entry("PATH".into()).or_insert_with(|| PATH.into());
        env.entry("HOSTNAME".into())
            .or_insert_with(|| spec.hostname.clone());
        let search = env.get("PATH").map_or(PATH, String::as_str).to_owned();

        limits(spec)?;
        let keep = capability::parse(&spec.capabilities)?;
        capability::bound(keep)?;
        become_user(self.user)?;
        if self.user.uid == 0 {
            capability::set(keep)?;
        }
        if self.dies_with_parent {
            // After the change of user, which clears it.
            sys::die_with_parent().context(|| "tie the command to who waits for it".into())?;
        }
        sys::set_no_new_privileges().context(|| "set no_new_privs".into())?;
        seccomp::restrict_program()?;
        chdir(self.cwd)
            .context(|| format!("enter the working directory {}", self.cwd.display()))?;

        let program = find(&self.args[0], &search)?;
        let path = c_string(&program.to_string_lossy())?;
        let args = self
            .args
            .iter()
            .map(|arg| c_string(arg))
            .collect::<Result<Vec<_>>>()?;
        let env = env
            .iter()
            .map(|(name, value)| c_string(&format!("{name}={value}")))
            .collect::<Result<Vec<_>>>()?;
        execve(&path, &args, &env).context(|| format!("run {}", program.display()))
    }
}

fn become_user(user: &User) -> Result<()> {
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).context(|| "set the groups".into())?;
    let gid = Gid::from_raw(user.gid);
    setresgid(gid, gid, gid).context(|| format!("become group {gid}"))?;
    let uid = Uid::from_raw(user.uid);
    setresuid(uid, uid, uid).context(|| format!("become user {uid}"))
}

fn limits(spec: &Spec) -> Result<()> {
    for (name, &(soft, hard)) in &spec.rlimits {
        let resource = match name.as_str() {
            "nofile" => Resource::RLIMIT_NOFILE,
            "nproc" => Resource::RLIMIT_NPROC,
            "core" => Resource::RLIMIT_CORE,
            "memlock" => Resource::RLIMIT_MEMLOCK,
            "stack" => Resource::RLIMIT_STACK,
            _ => {
                return Err(Error::new(format!(
                    "rlimits: expected nofile, nproc, core, memlock or stack, found {name:?}"
                )));
            }
        };
        setrlimit(resource, soft, hard).context(|| format!("set the limit {name}"))?;
    }
    Ok(())
}

/// The program's file: as given if it has a slash, else the first of that name in PATH.
fn find(name: &str, search: &str) -> Result<PathBuf> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    search
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(format!(
                "program {name:?}: expected it in PATH ({search}), found it nowhere"
            ))
        })
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(format!("{text:?}: expected no NUL byte")))
}
