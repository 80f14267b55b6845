//! Capabilities by name (linux/capability.h), and a process that keeps only some of them.

use crate::error::{Context, Error, Result};
use crate::sys;

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

pub const NET_ADMIN: u64 = 1 << 12;

/// A set of capabilities as a bit mask.
pub fn parse(names: &[String]) -> Result<u64> {
    names.iter().try_fold(0, |set, name| {
        let position = NAMES
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| {
                Error::new(format!(
                    "capabilities: expected a name such as NET_BIND_SERVICE, found {name:?}"
                ))
            })?;
        Ok(set | 1 << position)
    })
}

/// Takes every capability outside `keep` from the bounding set, for this process and all it starts.
pub fn bound(keep: u64) -> Result<()> {
    for (number, name) in NAMES.iter().enumerate() {
        if keep & (1 << number) == 0 {
            sys::drop_bounding_capability(number as u32)
                .context(|| format!("take {name} from the bounding set"))?;
        }
    }
    Ok(())
}

/// Makes `set` the permitted, effective and inheritable capabilities of this process.
pub fn set(set: u64) -> Result<()> {
    sys::set_capabilities(set).context(|| "set capabilities".into())
}

/// Lets `set`, which must be permitted and inheritable, live through exec without a file capability.
pub fn raise_ambient(set: u64) -> Result<()> {
    for number in 0..NAMES.len() as u32 {
        if set & (1 << number) != 0 {
            sys::raise_ambient_capability(number)
                .context(|| "raise an ambient capability".into())?;
        }
    }
    Ok(())
}
