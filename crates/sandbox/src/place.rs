//! Places below a directory that a hostile program may have furnished with links: found and made without ever leaving it.
//!
//! Everything goes by descriptors and openat2(2) with `RESOLVE_IN_ROOT`, so that neither `..` nor a link leads out, and
//! nothing that is swapped between a look and a use makes a difference.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use crate::error::{Context, Error, Result};

/// A directory that nothing below it leads out of.
pub struct Enclosure {
    root: OwnedFd,
}

impl Enclosure {
    pub fn open(path: &Path) -> Result<Self> {
        let root = open(
            path,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .context(|| format!("open {}", path.display()))?;
        Ok(Enclosure { root })
    }

    /// What is at `path`, links followed within the enclosure; `None` if nothing is.
    pub fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&self.root, path, how) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error).context(|| format!("look at {}", path.display())),
        }
    }

    /// The deepest directory on the way to `path` that exists, and what is missing below it.
    pub fn deepest(&self, path: &Path) -> Result<(OwnedFd, PathBuf)> {
        for ancestor in path.ancestors() {
            if let Some(found) = self.find(ancestor)? {
                let missing = path.strip_prefix(ancestor).unwrap_or(path).to_owned();
                return Ok((found, missing));
            }
        }
        Err(Error::new(format!(
            "{}: expected an absolute path",
            path.display()
        )))
    }

    /// What is at `path`, made if it is missing: a directory, or an empty file. Made entries belong to `owner`.
    pub fn find_or_make(
        &self,
        path: &Path,
        directory: bool,
        owner: Option<(u32, u32)>,
    ) -> Result<OwnedFd> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        let (mut at, missing) = self.deepest(path)?;
        let names: Vec<&OsStr> = missing
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect();
        for (index, name) in names.iter().enumerate() {
            let last = index + 1 == names.len();
            at = make(&at, name, directory || !last, owner).context(|| {
                format!(
                    "make {} on the way to {}",
                    Path::new(name).display(),
                    path.display()
                )
            })?;
        }
        Ok(at)
    }
}

/// Makes one entry and opens it; a link in its place is refused, whoever put it there.
fn make(
    parent: &OwnedFd,
    name: &OsStr,
    directory: bool,
    owner: Option<(u32, u32)>,
) -> nix::Result<OwnedFd> {
    if directory {
        match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
    } else {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(parent, name, flags, Mode::from_bits_truncate(0o644))?;
    }
    let mut flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    flags |= if directory {
        OFlag::O_RDONLY | OFlag::O_DIRECTORY
    } else {
        OFlag::O_PATH
    };
    let made = openat(parent, name, flags, Mode::empty())?;
    if let (Some((uid, gid)), true) = (owner, directory) {
        fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(made)
}

/// The path of what a descriptor is open on, for calls that take none. It holds for as long as nobody else can move it.
pub fn path_of(descriptor: &OwnedFd) -> Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
    std::fs::read_link(&link).context(|| format!("read {link}"))
}

pub fn is_directory(descriptor: &OwnedFd) -> Result<bool> {
    let found = fstat(descriptor).context(|| "look at a mount's source".into())?;
    Ok(found.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// User and group of what a descriptor is open on.
pub fn owner_of(descriptor: &OwnedFd) -> Result<(u32, u32)> {
    let found = fstat(descriptor).context(|| "look at a volume".into())?;
    Ok((found.st_uid, found.st_gid))
}
