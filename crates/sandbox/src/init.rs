//! PID 1 of a container: builds its view of the world, starts the program, reaps what is left behind.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, setgroups, sethostname,
    setresgid, setresuid, setsid,
};

use crate::error::{Context, Error, Result};
use crate::program::Program;
use crate::root;
use crate::spec::Spec;
use crate::sys;

/// The ends of the pipes to the monitor that init holds.
pub struct Channels {
    /// init → monitor: `U` asks for the id maps, `E…` is why the start failed, `S` and 4 bytes are the wait status.
    pub report: OwnedFd,
    /// monitor → init: one byte once it is in its cgroups, one once the id maps are written.
    pub mapped: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// The whole life of init; returns its exit code.
pub fn run(spec: &Spec, channels: Channels) -> i32 {
    let mut report = File::from(channels.report);
    let mapped = File::from(channels.mapped);
    let outcome = prepare(spec, &mut report, mapped)
        .and_then(|signals| {
            start(spec, &report, channels.stdout, channels.stderr).map(|pid| (signals, pid))
        })
        .and_then(|(signals, pid)| supervise(&signals, pid, &mut report));
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            // If the monitor is gone there is nobody to tell, and init ends with it.
            let _ = report.write_all(format!("E{error}\0").as_bytes());
            125
        }
    }
}

fn prepare(spec: &Spec, report: &mut File, mut mapped: File) -> Result<SignalFd> {
    let signals = block_signals()?;
    let mut go = [0];
    mapped
        .read_exact(&mut go)
        .context(|| "wait for the cgroups".into())?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .context(|| "make namespaces".into())?;
    sethostname(&spec.hostname).context(|| "set the host name".into())?;
    root::make_private()?;
    root::enter(spec)?;
    // Last, so that all of the above belongs to the host's user namespace and the container has no right over it.
    unshare(CloneFlags::CLONE_NEWUSER).context(|| "make the user namespace".into())?;
    report
        .write_all(b"U")
        .context(|| "ask for the id maps".into())?;
    let mut answer = [0];
    mapped
        .read_exact(&mut answer)
        .context(|| "wait for the id maps".into())?;
    setgroups(&[]).context(|| "drop the groups".into())?;
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))
        .context(|| "become group 0".into())?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))
        .context(|| "become user 0".into())?;
    // Changing credentials clears it, so it is set here: a container never outlives its monitor.
    sys::die_with_parent().context(|| "tie init to its monitor".into())?;
    // It may have died the moment before; the other end of the pipe then has no reader.
    let mut fds = [PollFd::new(report.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).context(|| "look for the monitor".into())?;
    if fds[0].any().unwrap_or(false) {
        return Err(Error::new("the monitor is gone"));
    }
    Ok(signals)
}

fn block_signals() -> Result<SignalFd> {
    let all = SigSet::all();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None).context(|| "block signals".into())?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC).context(|| "watch signals".into())
}

fn start(spec: &Spec, report: &File, stdout: OwnedFd, stderr: OwnedFd) -> Result<Pid> {
    match sys::fork_single_threaded().context(|| "start the program's process".into())? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let error = become_program(spec, &stdout, &stderr);
            let mut report = report;
            // As above: without a monitor there is nobody to tell.
            let _ = report.write_all(format!("E{error}\0").as_bytes());
            std::process::exit(125)
        }
    }
}

fn become_program(spec: &Spec, stdout: &OwnedFd, stderr: &OwnedFd) -> Error {
    let prepared = (|| {
        setsid()?;
        dup2_stdin(File::open("/dev/null").map_err(|_| nix::errno::Errno::ENODEV)?)?;
        dup2_stdout(stdout)?;
        dup2_stderr(stderr)?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
    })();
    match prepared.context(|| "prepare the program's process".into()) {
        Ok(()) => Program::of(spec).become_it(spec),
        Err(error) => error,
    }
}

/// Forwards signals to the program and reaps until it ends; what still runs then ends with this PID namespace.
fn supervise(signals: &SignalFd, program: Pid, report: &mut File) -> Result<()> {
    loop {
        let received = signals.read_signal().context(|| "read a signal".into())?;
        let Some(received) = received else { continue };
        let Ok(signal) = Signal::try_from(received.ssi_signo as i32) else {
            continue;
        };
        if signal != Signal::SIGCHLD {
            // The program may have ended a moment ago; its SIGCHLD is then on its way.
            let _ = kill(program, signal);
            continue;
        }
        while let Some((pid, code, signal)) = reap()? {
            if pid == program {
                let mut message = vec![b'S'];
                message.extend_from_slice(&code.to_le_bytes());
                message.extend_from_slice(&signal.to_le_bytes());
                return report
                    .write_all(&message)
                    .context(|| "report the exit".into());
            }
        }
    }
}

fn reap() -> Result<Option<(Pid, i32, i32)>> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, code)) => Ok(Some((pid, code, 0))),
        Ok(WaitStatus::Signaled(pid, signal, _)) => {
            Ok(Some((pid, 128 + signal as i32, signal as i32)))
        }
        Ok(_) | Err(nix::errno::Errno::ECHILD) => Ok(None),
        Err(error) => Err(error).context(|| "reap a process".into()),
    }
}
