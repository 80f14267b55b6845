//! The monitor of one container: outside of it, its parent, keeper of its log and its exit code.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, pipe2};

use crate::control;
use crate::error::{Context, Error, Result};
use crate::init::{self, Channels};
use crate::log::{Log, Stream};
use crate::spec::{ID_RANGE, Spec};
use crate::state::{Room, State, now};
use crate::sys;

/// Ends an error text in a report.
const STATUS_FOLLOWS: u8 = 0;

/// Runs the container to its end; the result is the exit code of this program.
pub fn run(spec_path: &Path) -> Result<u8> {
    let spec = Spec::read(spec_path)?;
    let started_at = now();
    let room = Room::take(&spec.state)?;
    let ending = supervise(&spec, spec_path, &started_at).unwrap_or_else(|error| Ending {
        exit_code: 128,
        signal: 0,
        reason: "StartError",
        message: error.to_string(),
    });
    let code = u8::try_from(ending.exit_code).unwrap_or(u8::MAX);
    if !ending.message.is_empty() {
        // Where this goes may be on a full disk; the state says it too.
        let _ = writeln!(std::io::stderr(), "hauberk-sandbox: {}", ending.message);
    }
    let exited = State::Exited {
        exit_code: ending.exit_code,
        signal: ending.signal,
        started_at,
        finished_at: now(),
        reason: ending.reason.into(),
        message: ending.message,
    };
    room.write(&exited)?;
    // The socket goes last: while it is there, somebody answers or the state tells.
    let _ = std::fs::remove_file(&spec.control);
    Ok(code)
}

struct Ending {
    exit_code: i32,
    signal: i32,
    reason: &'static str,
    message: String,
}

fn supervise(spec: &Spec, spec_path: &Path, started_at: &str) -> Result<Ending> {
    let log = Log::open(&spec.log, spec.log_max_bytes)
        .map_err(|e| Error::io("open the log", &spec.log, &e))?;
    let control = control::listen(&spec.control)?;
    let signals = watch_signals()?;
    let netns = File::open(&spec.netns)
        .map_err(|e| Error::io("open the network namespace", &spec.netns, &e))?;
    let (report, report_init) = pipe()?;
    let (mapped_init, mapped) = pipe()?;
    let (stdout, stdout_init) = pipe()?;
    let (stderr, stderr_init) = pipe()?;

    unshare(CloneFlags::CLONE_NEWPID).context(|| "make a PID namespace".into())?;
    let init = match sys::fork_single_threaded().context(|| "start init".into())? {
        ForkResult::Child => {
            drop((report, mapped, stdout, stderr, control, log));
            let channels = Channels {
                report: report_init,
                mapped: mapped_init,
                stdout: stdout_init,
                stderr: stderr_init,
            };
            if let Err(error) = setns(netns, CloneFlags::CLONE_NEWNET) {
                let mut report = File::from(channels.report);
                // Without a monitor there is nobody to tell.
                let _ = report
                    .write_all(format!("Ecannot enter the network namespace: {error}").as_bytes());
                std::process::exit(125);
            }
            std::process::exit(init::run(spec, channels))
        }
        ForkResult::Parent { child } => child,
    };
    drop((report_init, mapped_init, stdout_init, stderr_init, netns));

    let outcome = (|| {
        let mut mapped = File::from(mapped);
        join_cgroups(spec, init)?;
        mapped.write_all(&[1]).context(|| "let init begin".into())?;
        let mut watch = Watch {
            spec,
            init,
            log,
            control,
            signals,
            report: File::from(report),
            message: Vec::new(),
            streams: [
                (File::from(stdout), Stream::new("stdout")),
                (File::from(stderr), Stream::new("stderr")),
            ],
            open: [true, true],
        };
        watch.until_mapped()?;
        map_ids(spec, init)?;
        mapped.write_all(&[1]).context(|| "let init go on".into())?;
        drop(mapped);
        State::Running {
            pid: init.as_raw(),
            monitor: std::process::id().cast_signed(),
            spec: spec_path.to_owned(),
            started_at: started_at.into(),
        }
        .write(&spec.state)?;
        watch.until_end()
    })();
    if outcome.is_err() {
        // It may have ended by itself; what matters is that it runs no more.
        let _ = kill(init, Signal::SIGKILL);
        let _ = waitpid(init, None);
    }
    outcome
}

fn watch_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        set.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).context(|| "block signals".into())?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context(|| "watch signals".into())
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe".into())
}

fn join_cgroups(spec: &Spec, init: Pid) -> Result<()> {
    spec.cgroups.iter().try_for_each(|directory| {
        let file = directory.join("cgroup.procs");
        std::fs::write(&file, init.to_string()).map_err(|e| Error::io("join the cgroup", &file, &e))
    })
}

fn map_ids(spec: &Spec, init: Pid) -> Result<()> {
    for (file, base) in [("gid_map", spec.gid_base), ("uid_map", spec.uid_base)] {
        std::fs::write(
            format!("/proc/{init}/{file}"),
            format!("0 {base} {ID_RANGE}\n"),
        )
        .context(|| format!("write the {file} of init"))?;
    }
    Ok(())
}

struct Watch<'a> {
    spec: &'a Spec,
    init: Pid,
    log: Log,
    control: UnixListener,
    signals: SignalFd,
    report: File,
    message: Vec<u8>,
    streams: [(File, Stream); 2],
    open: [bool; 2],
}

impl Watch<'_> {
    fn until_mapped(&mut self) -> Result<()> {
        let mut byte = [0];
        match self
            .report
            .read(&mut byte)
            .context(|| "hear from init".into())?
        {
            1 if byte[0] == b'U' => Ok(()),
            count => {
                self.message.extend_from_slice(&byte[..count]);
                self.report
                    .read_to_end(&mut self.message)
                    .context(|| "hear from init".into())?;
                Err(Error::new(start_error(&self.message)))
            }
        }
    }

    fn until_end(&mut self) -> Result<Ending> {
        let mut report_open = true;
        while report_open {
            let ready = self.wait()?;
            if ready.signal {
                while let Ok(Some(signal)) = self.signals.read_signal() {
                    if let Ok(signal) = Signal::try_from(signal.ssi_signo as i32) {
                        // Init may have ended; its report is then next.
                        let _ = kill(self.init, signal);
                    }
                }
            }
            if ready.control {
                control::answer(&self.control, self.init);
            }
            for index in 0..2 {
                if ready.streams[index] {
                    self.pump(index)?;
                }
            }
            if ready.report {
                let mut bytes = [0; 4096];
                let count = self
                    .report
                    .read(&mut bytes)
                    .context(|| "hear from init".into())?;
                self.message.extend_from_slice(&bytes[..count]);
                report_open = count > 0;
            }
        }
        let status = waitpid(self.init, None).context(|| "wait for init".into())?;
        self.drain()?;
        self.ending(status)
    }

    fn wait(&self) -> Result<Ready> {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
        ];
        let mut watched = vec![2];
        fds.push(PollFd::new(self.report.as_fd(), PollFlags::POLLIN));
        for index in 0..2 {
            if self.open[index] {
                fds.push(PollFd::new(
                    self.streams[index].0.as_fd(),
                    PollFlags::POLLIN,
                ));
                watched.push(index);
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context(|| "wait for events".into()),
        }
        let fired = |fd: &PollFd| fd.any().unwrap_or(false);
        let mut ready = Ready {
            signal: fired(&fds[0]),
            control: fired(&fds[1]),
            ..Ready::default()
        };
        for (fd, what) in fds[2..].iter().zip(watched) {
            match what {
                2 => ready.report = fired(fd),
                index => ready.streams[index] = fired(fd),
            }
        }
        Ok(ready)
    }

    fn pump(&mut self, index: usize) -> Result<()> {
        let mut bytes = [0; 32 * 1024];
        let (file, stream) = &mut self.streams[index];
        let count = file
            .read(&mut bytes)
            .context(|| "read the program's output".into())?;
        if count == 0 {
            self.open[index] = false;
            stream.finish(&mut self.log);
        } else {
            stream.feed(&mut self.log, &bytes[..count]);
        }
        Ok(())
    }

    /// Takes what the container still had in its pipes. Nobody in it lives; whoever else was handed an end of them is not
    /// waited for.
    fn drain(&mut self) -> Result<()> {
        for index in 0..2 {
            while self.open[index] && self.has_output(index)? {
                self.pump(index)?;
            }
            let (_, stream) = &mut self.streams[index];
            stream.finish(&mut self.log);
        }
        Ok(())
    }

    /// Whether reading would not wait: there is output, or its end.
    fn has_output(&self, index: usize) -> Result<bool> {
        let mut fds = [PollFd::new(
            self.streams[index].0.as_fd(),
            PollFlags::POLLIN,
        )];
        let ready =
            poll(&mut fds, PollTimeout::ZERO).context(|| "drain the program's output".into())?;
        Ok(ready > 0)
    }

    fn ending(&self, init: WaitStatus) -> Result<Ending> {
        if self.message.first() == Some(&b'E') {
            return Err(Error::new(start_error(&self.message)));
        }
        let (exit_code, signal) = match (self.message.first(), init) {
            (Some(b'S'), _) if self.message.len() >= 9 => {
                (integer(&self.message[1..5]), integer(&self.message[5..9]))
            }
            (_, WaitStatus::Signaled(_, signal, _)) => (128 + signal as i32, signal as i32),
            (_, WaitStatus::Exited(_, code)) => (code, 0),
            _ => return Err(Error::new("init ended without a word")),
        };
        let out_of_memory = signal == Signal::SIGKILL as i32
            && self.spec.cgroups.iter().any(|c| ran_out_of_memory(c));
        let reason = match (out_of_memory, exit_code) {
            (true, _) => "OOMKilled",
            (_, 0) => "Completed",
            _ => "Error",
        };
        Ok(Ending {
            exit_code,
            signal,
            reason,
            message: String::new(),
        })
    }
}

#[derive(Default)]
struct Ready {
    signal: bool,
    control: bool,
    report: bool,
    streams: [bool; 2],
}

/// What init or the program's process said before the program ran; init's report of that process's exit may follow it.
fn start_error(message: &[u8]) -> String {
    let end = message
        .iter()
        .position(|&byte| byte == STATUS_FOLLOWS)
        .unwrap_or(message.len());
    let text = String::from_utf8_lossy(&message[..end]);
    let text = text.strip_prefix('E').unwrap_or(&text);
    if text.is_empty() {
        "the container ended before its program started".into()
    } else {
        text.into()
    }
}

fn integer(bytes: &[u8]) -> i32 {
    bytes.try_into().map_or(0, i32::from_le_bytes)
}

/// Whether the kernel killed something in this cgroup for want of memory (v1: memory.oom_control, v2: memory.events).
fn ran_out_of_memory(cgroup: &Path) -> bool {
    ["memory.oom_control", "memory.events"].iter().any(|file| {
        std::fs::read_to_string(cgroup.join(file)).is_ok_and(|text| {
            text.lines().any(|line| {
                line.strip_prefix("oom_kill ")
                    .is_some_and(|count| count.trim() != "0")
            })
        })
    })
}
