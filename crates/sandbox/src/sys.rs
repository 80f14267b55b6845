//! System calls that no safe wrapper has. Each block says why it is sound; nothing else in the crate is unsafe.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::unistd::{ForkResult, fork};

/// Forks. The caller must have one thread only, which holds: this program starts none before it forks.
pub fn fork_single_threaded() -> nix::Result<ForkResult> {
    // SAFETY: with a single thread the child has all locks in a sane state.
    unsafe { fork() }
}

/// Makes a mount, and all below it if `recursive`, read-only, without set-user-ID programs and without devices.
pub fn lock_mount(path: &Path, recursive: bool, readonly: bool) -> io::Result<()> {
    let path = c_string(path)?;
    set_mount_attributes(
        libc::AT_FDCWD,
        &path,
        if recursive { libc::AT_RECURSIVE } else { 0 },
        readonly,
    )
}

fn set_mount_attributes(
    directory: RawFd,
    path: &CStr,
    flags: i32,
    readonly: bool,
) -> io::Result<()> {
    #[repr(C)]
    struct MountAttributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    const RDONLY: u64 = 1;
    const NOSUID: u64 = 2;
    const NODEV: u64 = 4;
    let attributes = MountAttributes {
        set: NOSUID | NODEV | if readonly { RDONLY } else { 0 },
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    // SAFETY: both pointers are to live values of the sizes given; the kernel only reads them.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })
}

/// A copy of the mount at `source`, and of all below it if that is a directory, attached nowhere yet.
pub fn clone_mount(source: &OwnedFd) -> io::Result<OwnedFd> {
    const CLONE: libc::c_uint = 1;
    let flags = CLONE
        | libc::O_CLOEXEC.cast_unsigned()
        | (libc::AT_EMPTY_PATH | libc::AT_RECURSIVE).cast_unsigned();
    // SAFETY: the path is an empty static string; the result is a descriptor that nobody else owns.
    unsafe {
        let result = libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags);
        check(result)?;
        Ok(OwnedFd::from_raw_fd(result as RawFd))
    }
}

/// Restricts a mount that is attached nowhere yet, and all below it (see `lock_mount`).
pub fn lock_cloned_mount(tree: &OwnedFd, readonly: bool) -> io::Result<()> {
    set_mount_attributes(
        tree.as_raw_fd(),
        c"",
        libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
        readonly,
    )
}

/// Attaches a cloned mount on what `target` is open on.
pub fn attach_mount(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    const FROM_EMPTY_PATH: libc::c_uint = 0x04;
    const TO_EMPTY_PATH: libc::c_uint = 0x40;
    // SAFETY: both paths are empty static strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            FROM_EMPTY_PATH | TO_EMPTY_PATH,
        )
    })
}

/// Descriptors above standard error do not live through an exec, whoever left them open.
pub fn close_others_on_exec() -> io::Result<()> {
    const CLOEXEC: libc::c_uint = 4;
    // SAFETY: close_range with integers only; with this flag it closes nothing now.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            CLOEXEC,
        )
    })
}

pub fn install_seccomp(filter: &mut [libc::sock_filter]) -> io::Result<()> {
    let length =
        u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` and the filter it points to live until the call returns; the kernel copies them.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    })
}

pub fn set_no_new_privileges() -> io::Result<()> {
    // SAFETY: prctl with integers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
}

/// This process gets SIGKILL when the thread that made it ends.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: prctl with integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }.into())
}

/// Capabilities stay permitted when the user id changes from root.
pub fn keep_capabilities() -> io::Result<()> {
    // SAFETY: prctl with integers only.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }.into())
}

pub fn drop_bounding_capability(number: u32) -> io::Result<()> {
    // SAFETY: prctl with integers only.
    let result = check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }.into());
    match result {
        // A kernel older than this list does not know the newest capabilities; what it lacks cannot be held.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

pub fn raise_ambient_capability(number: u32) -> io::Result<()> {
    // SAFETY: prctl with integers only.
    check(
        unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                number,
                0,
                0,
            )
        }
        .into(),
    )
}

pub fn set_capabilities(set: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |bits: u32| Data {
        effective: bits,
        permitted: bits,
        inheritable: bits,
    };
    let data = [half(set as u32), half((set >> 32) as u32)];
    // SAFETY: version 3 reads one header and two data elements, which both live here.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
}

/// Makes the terminal on `fd` the controlling one of this session.
pub fn take_terminal(fd: RawFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) }.into())
}

/// The other end of the pseudo-terminal whose master is `master` (ioctl_tty(2), TIOCGPTPEER): no path is followed.
pub fn terminal_peer(master: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags and gives a descriptor that nobody else owns.
    unsafe {
        let result = libc::ioctl(master, libc::TIOCGPTPEER, flags);
        check(result.into())?;
        Ok(OwnedFd::from_raw_fd(result))
    }
}

/// The user namespace that owns another namespace (ioctl_ns(2), NS_GET_USERNS).
pub fn owner_of_namespace(namespace: RawFd) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the call takes no argument and gives a descriptor that nobody else owns.
    unsafe {
        let result = libc::ioctl(namespace, NS_GET_USERNS);
        check(result.into())?;
        Ok(OwnedFd::from_raw_fd(result))
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
