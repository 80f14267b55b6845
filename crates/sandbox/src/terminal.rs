//! A terminal of the container's own `/dev/pts`: a program gets one end, the node agent the other.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, posix_openpt, unlockpt};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown, setsid};

use crate::error::{Context, Result};
use crate::spec::User;
use crate::sys;

/// Group of terminals in `/etc/group`.
const TTY: u32 = 5;

pub struct Terminal {
    /// What is written here the program reads as typed.
    master: PtyMaster,
    program: OwnedFd,
}

impl Terminal {
    /// A new terminal that belongs to `user`. This process must be root in the container, in its mount namespace.
    pub fn open(user: &User) -> Result<Self> {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
            .context(|| "open a terminal at the container's /dev/ptmx".into())?;
        unlockpt(&master).context(|| "unlock the terminal".into())?;
        let program = sys::terminal_peer(master.as_raw_fd())
            .context(|| "open the program's end of the terminal".into())?;
        fchown(
            &program,
            Some(Uid::from_raw(user.uid)),
            Some(Gid::from_raw(TTY)),
        )
        .context(|| format!("give the terminal to user {}", user.uid))?;
        Ok(Terminal { master, program })
    }

    /// Sends the master's end over a Unix socket, as the one descriptor of a message of one byte (unix(7), SCM_RIGHTS).
    pub fn send_master(&self, socket: BorrowedFd) -> Result<()> {
        let descriptors = [self.master.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &rights,
            MsgFlags::empty(),
            None,
        )
        .map(drop)
        .context(|| "hand the terminal to the node agent over standard input, a Unix socket".into())
    }

    /// Begins a session with this terminal as its own and as this process's standard streams.
    pub fn control(self) -> Result<()> {
        setsid().context(|| "begin a session".into())?;
        sys::take_terminal(self.program.as_raw_fd()).context(|| "take the terminal".into())?;
        dup2_stdin(self.program.as_fd())
            .and_then(|()| dup2_stdout(self.program.as_fd()))
            .and_then(|()| dup2_stderr(self.program.as_fd()))
            .context(|| "make the terminal the standard streams".into())
    }
}
