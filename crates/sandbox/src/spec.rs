//! What the node agent asks for: one container, parsed from JSON. Unknown fields are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Host ids mapped into a container: container id 0 is `uid_base`, and so on for this many.
pub const ID_RANGE: u32 = 65_536;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    pub id: String,
    /// Network namespace to join, as a path.
    pub netns: PathBuf,
    pub uid_base: u32,
    pub gid_base: u32,
    pub hostname: String,
    pub args: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default = "root_directory")]
    pub cwd: PathBuf,
    #[serde(default)]
    pub user: User,
    /// Capability names without `CAP_`, held inside the container's own user namespace only.
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Host paths that the container must not see.
    #[serde(default)]
    pub hidden: Vec<PathBuf>,
    /// Small files laid over the root file system: path to text.
    #[serde(default)]
    pub files: BTreeMap<PathBuf, String>,
    /// Resource name (`nofile`, `nproc`, `core`, `memlock`, `stack`) to soft and hard limit.
    #[serde(default)]
    pub rlimits: BTreeMap<String, (u64, u64)>,
    /// cgroup directories that the container joins.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
    pub log: PathBuf,
    #[serde(default = "ten_mebibytes")]
    pub log_max_bytes: u64,
    pub state: PathBuf,
    pub control: PathBuf,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    #[serde(default)]
    pub groups: Vec<u32>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    pub source: PathBuf,
    /// Below `source`; what a program put there is followed within `source` only.
    #[serde(default)]
    pub sub_path: Option<PathBuf>,
    pub target: PathBuf,
    #[serde(default)]
    pub readonly: bool,
}

impl Spec {
    /// Reads and checks a specification.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read(path).map_err(|e| Error::io("read the specification", path, &e))?;
        let spec: Spec = serde_json::from_slice(&text)
            .map_err(|e| Error::new(format!("specification {}: {e}", path.display())))?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        if self.args.is_empty() {
            return Err(Error::new(
                "args: expected a program and its arguments, found none",
            ));
        }
        if self.uid_base == 0 || self.gid_base == 0 {
            return Err(Error::new(
                "uid_base, gid_base: expected the first host id of the pod's own range, found 0, which is the host's root",
            ));
        }
        for id in [self.user.uid, self.user.gid]
            .iter()
            .chain(&self.user.groups)
        {
            if *id >= ID_RANGE {
                return Err(Error::new(format!(
                    "user: expected ids below {ID_RANGE}, found {id}"
                )));
            }
        }
        let targets = self
            .mounts
            .iter()
            .map(|m| &m.target)
            .chain(self.files.keys())
            .chain([&self.cwd])
            .chain(&self.hidden);
        for target in targets {
            if !target.is_absolute()
                || target
                    .components()
                    .any(|c| c == std::path::Component::ParentDir)
            {
                return Err(Error::new(format!(
                    "path {}: expected an absolute path without '..'",
                    target.display()
                )));
            }
        }
        Ok(())
    }
}

fn root_directory() -> PathBuf {
    PathBuf::from("/")
}

fn ten_mebibytes() -> u64 {
    10 << 20
}
