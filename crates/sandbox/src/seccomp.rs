//! What a container's program may not ask of the kernel, as a classic BPF filter.
//!
//! Everything else is allowed: the namespaces and the user mapping are the wall, this narrows what of the kernel
//! can be reached through it. The refusals are listed below with their reasons.

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

use crate::error::{Context, Result};
use crate::sys;

/// System calls refused with EPERM: they reach across namespaces, into the kernel or into other processes' futures.
const REFUSED: &[libc::c_long] = &[
    // other namespaces and mounts: nothing a pod needs, and the usual way out
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // the kernel itself
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_nfsservctl,
    // the machine's clock
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    // kernel keyrings are not divided by user namespace
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // io_uring opens sockets that this filter would not see
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Linux 6.15; the same number on every architecture.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// New namespaces asked of clone(2) by its flags.
const CLONE_NEW: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Numbers from here on are the x32 ABI's, which would go round the filter.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENT_0: u32 = 16;

/// Installs the filter for a container's program. `no_new_privs` must be set.
pub fn restrict_program() -> Result<()> {
    let mut filter = prologue();
    // AF_VSOCK knows no network namespace: it would lead from any pod to the host.
    filter.extend(refuse_argument(
        libc::SYS_socket,
        libc::AF_VSOCK as u32,
        libc::EAFNOSUPPORT,
    ));
    filter.extend(refuse_argument(
        libc::SYS_socketpair,
        libc::AF_VSOCK as u32,
        libc::EAFNOSUPPORT,
    ));
    filter.extend(refuse_flags(libc::SYS_clone, CLONE_NEW, libc::EPERM));
    // clone3 has its flags in memory, which a filter cannot read: programs fall back to clone.
    filter.extend(refuse(libc::SYS_clone3, libc::ENOSYS));
    for &number in REFUSED {
        filter.extend(refuse(number, libc::EPERM));
    }
    install(filter)
}

/// Installs the filter for the proxy: as a program's, and no debugging of others. exec stays, for the one to come.
pub fn restrict_proxy() -> Result<()> {
    let mut filter = prologue();
    filter.extend(refuse_argument(
        libc::SYS_socket,
        libc::AF_VSOCK as u32,
        libc::EAFNOSUPPORT,
    ));
    filter.extend(refuse_argument(
        libc::SYS_socket,
        libc::AF_PACKET as u32,
        libc::EAFNOSUPPORT,
    ));
    filter.extend(refuse_flags(libc::SYS_clone, CLONE_NEW, libc::EPERM));
    filter.extend(refuse(libc::SYS_clone3, libc::ENOSYS));
    for &number in REFUSED
        .iter()
        .chain(&[libc::SYS_ptrace, libc::SYS_process_vm_writev])
    {
        filter.extend(refuse(number, libc::EPERM));
    }
    install(filter)
}

fn install(mut filter: Vec<sock_filter>) -> Result<()> {
    filter.push(statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW));
    sys::install_seccomp(&mut filter).context(|| "install the seccomp filter".into())
}

fn prologue() -> Vec<sock_filter> {
    let mut filter = vec![
        statement(BPF_LD | BPF_W | BPF_ABS, OFFSET_ARCHITECTURE),
        jump(BPF_JEQ, ARCHITECTURE, 1, 0),
        statement(BPF_RET | BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
        statement(BPF_LD | BPF_W | BPF_ABS, OFFSET_NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    filter.extend([jump(BPF_JSET, X32, 0, 1), errno(libc::ENOSYS)]);
    filter
}

/// With the number loaded: the call `number` fails with `error`.
fn refuse(number: libc::c_long, error: i32) -> [sock_filter; 2] {
    [jump(BPF_JEQ, number as u32, 0, 1), errno(error)]
}

/// The call `number` fails when its first argument is `value`; the number is loaded again afterwards.
fn refuse_argument(number: libc::c_long, value: u32, error: i32) -> [sock_filter; 5] {
    with_argument(number, jump(BPF_JEQ, value, 0, 1), error)
}

/// The call `number` fails when its first argument has any of `flags`.
fn refuse_flags(number: libc::c_long, flags: u32, error: i32) -> [sock_filter; 5] {
    with_argument(number, jump(BPF_JSET, flags, 0, 1), error)
}

fn with_argument(number: libc::c_long, test: sock_filter, error: i32) -> [sock_filter; 5] {
    [
        jump(BPF_JEQ, number as u32, 0, 4),
        statement(BPF_LD | BPF_W | BPF_ABS, OFFSET_ARGUMENT_0),
        test,
        errno(error),
        statement(BPF_LD | BPF_W | BPF_ABS, OFFSET_NUMBER),
    ]
}

fn errno(error: i32) -> sock_filter {
    statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | error as u32)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | test | BPF_K) as u16,
        jt,
        jf,
        k,
    }
}
