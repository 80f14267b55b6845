//! The container's view of the file system: the host's root, read-only, with private places laid over it.
//!
//! Built by the host's root in a mount namespace that the host's user namespace owns, so that root in the container
//! holds no right over any of its mounts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, pivot_root};

use crate::error::{Context, Result};
use crate::place::{self, Enclosure};
use crate::spec::{Mount, Spec};
use crate::sys;

/// Where the new root is put together; whatever the host has there is not seen in the container.
const SCRATCH: &str = "/mnt";
/// Entries of the host's root that a container gets anew or not at all.
const OWN: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "var",
    "root",
    "home",
    "mnt",
    "media",
    "boot",
    "lost+found",
];
const VAR: &[&str] = &[
    "backups", "cache", "lib", "local", "log", "mail", "opt", "spool",
];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
const MASKED: &[&str] = &[
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "kallsyms",
    "sysrq-trigger",
    "kmsg",
    "interrupts",
    "asound",
    "acpi",
    "scsi",
];
const READ_ONLY: &[&str] = &["bus", "fs", "irq", "sys"];

/// Builds the root and enters it. This process must be PID 1 of the container's PID namespace.
pub fn enter(spec: &Spec) -> Result<()> {
    let builder = Builder::new(spec)?;
    builder.host_directories()?;
    builder.private_directories()?;
    builder.devices()?;
    builder.proc()?;
    builder.hide()?;
    builder.make_room()?;
    builder.mounts()?;
    builder.files()?;
    builder.pivot()
}

/// Mounts in a fresh private mount namespace: nothing done here is seen outside.
pub fn make_private() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context(|| "make the mounts private".into())
}

struct Builder<'a> {
    spec: &'a Spec,
    root: PathBuf,
    scratch: PathBuf,
}

impl<'a> Builder<'a> {
    fn new(spec: &'a Spec) -> Result<Self> {
        let scratch = PathBuf::from(SCRATCH);
        tmpfs(&scratch, "mode=755")?;
        let root = scratch.join("root");
        directory(&root)?;
        tmpfs(&root, "mode=755")?;
        Ok(Builder {
            spec,
            root,
            scratch,
        })
    }

    fn inside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn host_directories(&self) -> Result<()> {
        for entry in fs::read_dir("/").context(|| "read /".into())? {
            let entry = entry.context(|| "read /".into())?;
            let name = entry.file_name();
            if OWN.iter().any(|own| *own == name) {
                continue;
            }
            let (source, target) = (entry.path(), self.root.join(&name));
            let kind = entry
                .file_type()
                .context(|| format!("look at {}", source.display()))?;
            if kind.is_symlink() {
                let to = fs::read_link(&source).context(|| format!("read {}", source.display()))?;
                symlink(to, &target).context(|| format!("link {}", target.display()))?;
            } else if kind.is_dir() {
                directory(&target)?;
                bind(&source, &target)?;
                lock(&target, true, true)?;
            }
        }
        Ok(())
    }

    fn private_directories(&self) -> Result<()> {
        let owner = format!("uid={},gid={}", self.spec.uid_base, self.spec.gid_base);
        for (name, mode) in [("run", "755"), ("tmp", "1777"), ("var", "755")] {
            let path = self.root.join(name);
            directory(&path)?;
            tmpfs(&path, &format!("mode={mode},{owner}"))?;
        }
        for name in VAR {
            self.owned_directory(&self.root.join("var").join(name), 0o755)?;
        }
        self.owned_directory(&self.inside("/var/tmp"), 0o1777)?;
        self.owned_directory(&self.inside("/run/lock"), 0o1777)?;
        for (to, link) in [("/run", "/var/run"), ("/run/lock", "/var/lock")] {
            symlink(to, self.inside(link)).context(|| format!("link {link}"))?;
        }
        for name in ["root", "home", "sys", "mnt", "media"] {
            directory(&self.root.join(name))?;
        }
        Ok(())
    }

    fn owned_directory(&self, path: &Path, mode: u32) -> Result<()> {
        directory(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .and_then(|()| {
                std::os::unix::fs::chown(path, Some(self.spec.uid_base), Some(self.spec.gid_base))
            })
            .context(|| format!("give {} to the container", path.display()))
    }

    fn devices(&self) -> Result<()> {
        let dev = self.root.join("dev");
        directory(&dev)?;
        tmpfs(&dev, "mode=755")?;
        for name in DEVICES {
            let target = dev.join(name);
            empty_file(&target)?;
            bind(&Path::new("/dev").join(name), &target)?;
        }
        directory(&dev.join("pts"))?;
        let options = format!(
            "newinstance,ptmxmode=0666,mode=0620,gid={}",
            self.spec.gid_base.saturating_add(5)
        );
        mount(
            Some("devpts"),
            &dev.join("pts"),
            Some("devpts"),
            MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            Some(options.as_str()),
        )
        .context(|| "mount /dev/pts".into())?;
        directory(&dev.join("shm"))?;
        tmpfs(&dev.join("shm"), "mode=1777,size=64m")?;
        let links = [
            ("pts/ptmx", "ptmx"),
            ("/proc/self/fd", "fd"),
            ("/proc/self/fd/0", "stdin"),
            ("/proc/self/fd/1", "stdout"),
            ("/proc/self/fd/2", "stderr"),
        ];
        for (to, link) in links {
            symlink(to, dev.join(link)).context(|| format!("link /dev/{link}"))?;
        }
        Ok(())
    }

    fn proc(&self) -> Result<()> {
        let proc = self.root.join("proc");
        directory(&proc)?;
        let none: Option<&str> = None;
        mount(
            Some("proc"),
            &proc,
            Some("proc"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            none,
        )
        .context(|| "mount /proc".into())?;
        for name in READ_ONLY {
            let path = proc.join(name);
            if path.exists() {
                bind(&path, &path)?;
                lock(&path, true, true)?;
            }
        }
        for name in MASKED {
            self.mask(&proc.join(name))?;
        }
        Ok(())
    }

    fn hide(&self) -> Result<()> {
        self.spec
            .hidden
            .iter()
            .try_for_each(|path| self.mask(&self.inside(path)))
    }

    /// Lays an empty read-only directory, or /dev/null, over what is there.
    fn mask(&self, path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => {
                tmpfs(path, "mode=555,size=4k")?;
                lock(path, false, true)
            }
            Ok(found) if !found.is_symlink() => bind(Path::new("/dev/null"), path),
            _ => Ok(()),
        }
    }

    /// Adds to the read-only directories what mounts and files need in them and is missing: one overlay without an upper
    /// layer for each such directory, all before the first mount, so that none hides another. Nothing that a program
    /// could have furnished is mounted yet.
    fn make_room(&self) -> Result<()> {
        let root = Enclosure::open(&self.root)?;
        let files = self.spec.files.keys().map(|path| (path, false));
        let mut wanted: Vec<(&PathBuf, bool)> = files.collect();
        for mount in &self.spec.mounts {
            wanted.push((&mount.target, place::is_directory(&self.source(mount)?)?));
        }
        let mut missing: BTreeMap<PathBuf, Vec<(PathBuf, bool)>> = BTreeMap::new();
        for (target, is_directory) in wanted {
            if root.find(target)?.is_some() {
                continue;
            }
            let (existing, rest) = root.deepest(target)?;
            let existing = place::path_of(&existing)?;
            if self.writable(&existing) {
                create(&existing.join(&rest), is_directory)?;
            } else {
                missing
                    .entry(existing)
                    .or_default()
                    .push((rest, is_directory));
            }
        }
        for (index, (existing, rests)) in missing.iter().enumerate() {
            let skeleton = self.scratch.join(format!("room-{index}"));
            for (rest, is_directory) in rests {
                let path = skeleton.join(rest);
                if path.symlink_metadata().is_err() {
                    create(&path, *is_directory)?;
                }
            }
            overlay(&skeleton, existing)?;
        }
        Ok(())
    }

    /// Shorter targets first, so that a mount below another is seen.
    fn mounts(&self) -> Result<()> {
        let root = Enclosure::open(&self.root)?;
        let mut mounts: Vec<_> = self.spec.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.target.components().count());
        for wanted in mounts {
            let source = self.source(wanted)?;
            let target = root.find_or_make(&wanted.target, place::is_directory(&source)?, None)?;
            attach(&source, &target, wanted.readonly).context(|| {
                format!(
                    "mount {} at {}",
                    wanted.source.display(),
                    wanted.target.display()
                )
            })?;
        }
        Ok(())
    }

    /// A mount's source; a sub-path is found, or made as the volume's own, without leaving the volume.
    fn source(&self, wanted: &Mount) -> Result<OwnedFd> {
        let whole = open(
            &wanted.source,
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .context(|| format!("find the source {} of a mount", wanted.source.display()))?;
        let Some(sub) = &wanted.sub_path else {
            return Ok(whole);
        };
        let owner = place::owner_of(&whole)?;
        Enclosure::open(&wanted.source)?.find_or_make(&Path::new("/").join(sub), true, Some(owner))
    }

    fn files(&self) -> Result<()> {
        let root = Enclosure::open(&self.root)?;
        for (index, (path, text)) in self.spec.files.iter().enumerate() {
            let source = self.scratch.join(format!("file-{index}"));
            fs::write(&source, text).context(|| format!("write {}", path.display()))?;
            fs::set_permissions(&source, fs::Permissions::from_mode(0o644))
                .context(|| format!("write {}", path.display()))?;
            let source = open(&source, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
                .context(|| format!("write {}", path.display()))?;
            let target = root.find_or_make(path, false, None)?;
            attach(&source, &target, true)
                .context(|| format!("lay a file over {}", path.display()))?;
        }
        Ok(())
    }

    /// Whether new entries can simply be made there: the root's own tmpfs and the private directories.
    fn writable(&self, path: &Path) -> bool {
        let probe = path.join(".hauberk-probe");
        let made = File::create_new(&probe).is_ok();
        if made {
            // A leftover probe is harmless and empty; the mount it lies on is private to this container.
            let _ = fs::remove_file(&probe);
        }
        made
    }

    fn pivot(&self) -> Result<()> {
        chdir(&self.root).context(|| "enter the new root".into())?;
        pivot_root(".", ".").context(|| "change the root".into())?;
        umount2(".", MntFlags::MNT_DETACH).context(|| "leave the old root".into())?;
        chdir("/").context(|| "enter the new root".into())?;
        lock(Path::new("/"), false, true)
    }
}

/// The proxy's view: system libraries and its binary, read-only, one directory of its own, nothing else.
pub fn enter_minimal(binary: &Path, own: &Path) -> Result<()> {
    let scratch = PathBuf::from(SCRATCH);
    tmpfs(&scratch, "mode=755")?;
    let root = scratch.join("root");
    directory(&root)?;
    tmpfs(&root, "mode=755")?;
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    for name in ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/localtime"] {
        let source = Path::new(name);
        match fs::symlink_metadata(source) {
            Ok(found) if found.is_symlink() => {
                let to = fs::read_link(source).context(|| format!("read {name}"))?;
                if found.is_dir() || fs::metadata(source).is_ok_and(|m| m.is_dir()) {
                    symlink(to, inside(source)).context(|| format!("link {name}"))?;
                }
            }
            Ok(found) if found.is_dir() => {
                create(&inside(source), true)?;
                bind(source, &inside(source))?;
                lock(&inside(source), true, true)?;
            }
            _ => {}
        }
    }
    create(&inside(binary), false)?;
    bind(binary, &inside(binary))?;
    lock(&inside(binary), false, true)?;
    create(&inside(own), true)?;
    bind(own, &inside(own))?;
    lock(&inside(own), true, false)?;
    for name in ["/dev/null", "/dev/urandom"] {
        create(&inside(Path::new(name)), false)?;
        bind(Path::new(name), &inside(Path::new(name)))?;
    }
    // By these names an Envoy is told to write its access log.
    for (to, name) in [
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        symlink(to, inside(Path::new(name))).context(|| format!("link {name}"))?;
    }
    own_processes(&root.join("proc"))?;
    chdir(&root).context(|| "enter the proxy's root".into())?;
    pivot_root(".", ".").context(|| "change the root".into())?;
    umount2(".", MntFlags::MNT_DETACH).context(|| "leave the old root".into())?;
    chdir("/").context(|| "enter the proxy's root".into())?;
    lock(Path::new("/"), false, true)
}

/// A `/proc` that shows the process that looks at it and nothing of the machine.
fn own_processes(path: &Path) -> Result<()> {
    directory(path)?;
    mount(
        Some("proc"),
        path,
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY,
        Some("hidepid=invisible,subset=pid"),
    )
    .context(|| "mount the proxy's /proc".into())
}

/// Lays `skeleton` over `existing`, read-only: the entries of both are seen.
fn overlay(skeleton: &Path, existing: &Path) -> Result<()> {
    let options = format!("lowerdir={}:{}", skeleton.display(), existing.display());
    mount(
        Some("overlay"),
        existing,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .context(|| format!("make room in {}", existing.display()))?;
    lock(existing, false, true)
}

/// Mounts what `source` is open on at what `target` is open on, restricted before anybody can see it.
fn attach(source: &OwnedFd, target: &OwnedFd, readonly: bool) -> std::io::Result<()> {
    let tree = sys::clone_mount(source)?;
    sys::lock_cloned_mount(&tree, readonly)?;
    sys::attach_mount(&tree, target)
}

fn tmpfs(path: &Path, options: &str) -> Result<()> {
    mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options),
    )
    .context(|| format!("mount a tmpfs at {}", path.display()))
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(
        Some(source),
        target,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )
    .context(|| format!("bind {} to {}", source.display(), target.display()))
}

fn lock(path: &Path, recursive: bool, readonly: bool) -> Result<()> {
    sys::lock_mount(path, recursive, readonly)
        .context(|| format!("restrict the mount at {}", path.display()))
}

fn directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .context(|| format!("make the directory {}", path.display()))
}

fn empty_file(path: &Path) -> Result<()> {
    File::create(path)
        .map(drop)
        .context(|| format!("make the file {}", path.display()))
}

fn create(path: &Path, is_directory: bool) -> Result<()> {
    if is_directory {
        return directory(path);
    }
    path.parent().map_or(Ok(()), directory)?;
    empty_file(path)
}
