//! Docker's default system-call filter as a BPF program: what it allows, under which conditions, and how it is installed.

use crate::capability::Capabilities;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The last system call whose meaning the list knows. Newer ones answer ENOSYS, not EPERM, so that C libraries fall
/// back to older ones, as runc does.
const LAST_KNOWN: u32 = 462;

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

// Numbers that the libc crate does not have yet; the same on every architecture.
const CACHESTAT: i64 = 451;
const FCHMODAT2: i64 = 452;
const MAP_SHADOW_STACK: i64 = 453;
const FUTEX_WAKE: i64 = 454;
const FUTEX_WAIT: i64 = 455;
const FUTEX_REQUEUE: i64 = 456;
const MSEAL: i64 = 462;
#[cfg(target_arch = "x86_64")]
const IO_PGETEVENTS: i64 = 333;
#[cfg(target_arch = "aarch64")]
const IO_PGETEVENTS: i64 = 292;

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Allowed with any arguments.
#[rustfmt::skip]
const ALLOWED: &[i64] = calls!(
    SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_adjtime
    SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect SYS_copy_file_range
    SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_execve
    SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fanotify_mark
    SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_flistxattr
    SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv
    SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer
    SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid
    SYS_getrlimit SYS_get_robust_list SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid
    SYS_gettimeofday SYS_getuid SYS_getxattr SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch
    SYS_io_cancel SYS_ioctl SYS_io_destroy SYS_io_getevents SYS_ioprio_get SYS_ioprio_set
    SYS_io_setup SYS_io_submit SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr
    SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mkdirat
    SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open
    SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd
    SYS_msync SYS_munlock SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat
    SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect
    SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_mrelease SYS_pselect6
    SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg
    SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat SYS_renameat2 SYS_restart_syscall
    SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn
    SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_getaffinity SYS_sched_getattr
    SYS_sched_getparam SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getscheduler
    SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler
    SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg
    SYS_sendto SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority
    SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_set_robust_list SYS_setsid SYS_setsockopt
    SYS_set_tid_address SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown
    SYS_sigaltstack SYS_signalfd4 SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync
    SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete
    SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime
    SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice
    SYS_wait4 SYS_waitid SYS_write SYS_writev SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev
);

/// The older calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = calls!(
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_ctl_old
    SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp
    SYS_get_thread_area SYS_inotify_init SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open
    SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select SYS_set_thread_area SYS_signalfd SYS_stat
    SYS_symlink SYS_time SYS_unlink SYS_utime SYS_utimes SYS_ustat SYS_vfork
);
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[i64] = &[];

const ALLOWED_NEW: &[i64] =
    &[CACHESTAT, FCHMODAT2, MAP_SHADOW_STACK, FUTEX_WAKE, FUTEX_WAIT, FUTEX_REQUEUE, MSEAL, IO_PGETEVENTS];

/// Allowed to those who have the capability.
#[rustfmt::skip]
const WITH_CAPABILITY: &[(&str, &[i64])] = &[
    ("DAC_READ_SEARCH", calls!(SYS_open_by_handle_at)),
    ("SYS_ADMIN", calls!(
        SYS_bpf SYS_clone SYS_clone3 SYS_fanotify_init SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick
        SYS_lookup_dcookie SYS_mount SYS_mount_setattr SYS_move_mount SYS_open_tree SYS_perf_event_open SYS_quotactl
        SYS_quotactl_fd SYS_setdomainname SYS_sethostname SYS_setns SYS_syslog SYS_umount2 SYS_unshare)),
    ("SYS_BOOT", calls!(SYS_reboot)),
    ("SYS_CHROOT", calls!(SYS_chroot)),
    ("SYS_MODULE", calls!(SYS_delete_module SYS_init_module SYS_finit_module)),
    ("SYS_PACCT", calls!(SYS_acct)),
    ("SYS_PTRACE", calls!(SYS_kcmp SYS_pidfd_getfd SYS_process_madvise)),
    ("SYS_TIME", calls!(SYS_settimeofday SYS_clock_settime)),
    ("SYS_TTY_CONFIG", calls!(SYS_vhangup)),
    ("SYS_NICE", calls!(SYS_get_mempolicy SYS_mbind SYS_set_mempolicy SYS_set_mempolicy_home_node)),
    ("SYSLOG", calls!(SYS_syslog)),
    ("BPF", calls!(SYS_bpf)),
    ("PERFMON", calls!(SYS_perf_event_open)),
];
#[cfg(target_arch = "x86_64")]
const RAW_IO: &[i64] = calls!(SYS_iopl SYS_ioperm);
#[cfg(target_arch = "aarch64")]
const RAW_IO: &[i64] = &[];

/// Bits of clone's flags that make namespaces.
const CLONE_NEW: u64 = 0x7E02_0000;
const VSOCK: u64 = 40;
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// The filter for a container with these capabilities.
pub(crate) fn compile(capabilities: Capabilities) -> io::Result<BpfProgram> {
    let mut allowed: BTreeSet<i64> = ALLOWED.iter().chain(ALLOWED_HERE).chain(ALLOWED_NEW).copied().collect();
    for (name, calls) in WITH_CAPABILITY.iter().copied().chain([("SYS_RAWIO", RAW_IO)]) {
        if capabilities.has(name) {
            allowed.extend(calls);
        }
    }
    let mut rules = conditional().map_err(io::Error::other)?;
    rules.retain(|call, _| !allowed.contains(call));
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, ARCH).map_err(io::Error::other)?;
    let filter: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    let mut program = unknown_calls(!allowed.contains(&libc::SYS_clone3));
    program.extend(allow(&ranges(&allowed))?);
    program.extend(filter);
    Ok(program)
}

/// Calls that depend on their arguments.
fn conditional() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let personality = |value: &u64| rule(SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *value);
    let no_namespaces = rule(SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(CLONE_NEW), 0)?;
    Ok(BTreeMap::from([
        (libc::SYS_personality, PERSONALITIES.iter().map(personality).collect::<Result<Vec<_>, _>>()?),
        (libc::SYS_socket, vec![rule(SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, VSOCK)?]),
        (libc::SYS_clone, vec![no_namespaces]),
    ]))
}

fn rule(
    length: SeccompCmpArgLen,
    op: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, length, op, value)?])
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_ABOVE: u16 = 0x25;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const NOT_IMPLEMENTED: u32 = 0x0005_0000 | libc::ENOSYS.unsigned_abs();
const ALLOW: u32 = 0x7fff_0000;

fn instruction(code: u16, (jt, jf): (u8, u8), k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Refuses another architecture's calls, loads the call's number, and answers that calls newer than the list do not
/// exist; nor, unless it is allowed, does clone3, whose flags a filter cannot see.
fn unknown_calls(without_clone3: bool) -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    const ARCHITECTURE_AT: u32 = 4;
    let clone3 = if without_clone3 { u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX) } else { u32::MAX };
    vec![
        instruction(LOAD, (0, 0), ARCHITECTURE_AT),
        instruction(JUMP_IF_EQUAL, (1, 0), AUDIT_ARCH),
        instruction(RETURN, (0, 0), NOT_IMPLEMENTED),
        instruction(LOAD, (0, 0), 0),
        // The x32 bit is left to the filter proper, which denies those calls.
        instruction(JUMP_IF_AT_LEAST, (3, 0), X32),
        instruction(JUMP_IF_EQUAL, (1, 0), clone3),
        instruction(JUMP_IF_ABOVE, (0, 1), LAST_KNOWN),
        instruction(RETURN, (0, 0), NOT_IMPLEMENTED),
    ]
}

/// Runs of consecutive numbers, first and last.
fn ranges(calls: &BTreeSet<i64>) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for call in calls.iter().filter_map(|call| u32::try_from(*call).ok()) {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == call => *last = call,
            _ => found.push((call, call)),
        }
    }
    found
}

/// Allows the calls in the ranges, and goes on behind its end with others. A tree, because the kernel runs a new
/// filter once for every call there is, and a chain of three hundred comparisons makes that a millisecond.
fn allow(ranges: &[(u32, u32)]) -> io::Result<BpfProgram> {
    let mut program = Vec::new();
    let mut escapes = Vec::new();
    add_tree(ranges, &mut program, &mut escapes)?;
    let end = program.len();
    for at in escapes {
        program[at].k = u32::try_from(end - at - 1).map_err(io::Error::other)?;
    }
    Ok(program)
}

fn add_tree(ranges: &[(u32, u32)], program: &mut BpfProgram, escapes: &mut Vec<usize>) -> io::Result<()> {
    match ranges {
        [] => {}
        [(first, last)] => {
            program.extend([
                instruction(JUMP_IF_AT_LEAST, (0, 2), *first),
                instruction(JUMP_IF_ABOVE, (1, 0), *last),
                instruction(RETURN, (0, 0), ALLOW),
                instruction(JUMP, (0, 0), 0),
            ]);
            escapes.push(program.len() - 1);
        }
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let at = program.len();
            program.push(instruction(JUMP_IF_AT_LEAST, (0, 0), right[0].0));
            add_tree(left, program, escapes)?;
            program[at].jt = u8::try_from(program.len() - at - 1).map_err(io::Error::other)?;
            add_tree(right, program, escapes)?;
        }
    }
    Ok(())
}

/// Filters the calling thread and all that it becomes. Without `no_new_privs` this needs CAP_SYS_ADMIN.
pub(crate) fn install(program: &[sock_filter]) -> io::Result<()> {
    const SET_MODE_FILTER: libc::c_ulong = 1;
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let header =
        libc::sock_fprog { len: length, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: `header` points to `length` instructions of the layout that the kernel expects (both types are the C
    // struct sock_filter), and the kernel only reads and copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const header) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter on a call's number, as the kernel would; arguments are zero.
    fn verdict(program: &[sock_filter], call: i64) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let i = &program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { i.jt } else { i.jf });
            match i.code {
                LOAD => {
                    loaded = match i.k {
                        0 => u32::try_from(call).expect("a number"),
                        4 => AUDIT_ARCH,
                        _ => 0,
                    };
                }
                JUMP => at += i.k as usize,
                JUMP_IF_EQUAL => at += jump(loaded == i.k),
                JUMP_IF_ABOVE => at += jump(loaded > i.k),
                JUMP_IF_AT_LEAST => at += jump(loaded >= i.k),
                0x54 => loaded &= i.k,
                RETURN => return i.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn each_call_gets_its_verdict() {
        let denied = 0x0005_0000 | libc::EPERM.unsigned_abs();
        let standard = compile(Capabilities::standard()).expect("compiles");
        let lists = [ALLOWED, ALLOWED_HERE, ALLOWED_NEW, &[libc::SYS_chroot]];
        let arguments_decide = [libc::SYS_personality, libc::SYS_socket, libc::SYS_clone];
        for call in 0..=i64::from(LAST_KNOWN) {
            let expected = match call {
                libc::SYS_clone3 => NOT_IMPLEMENTED,
                call if lists.iter().any(|l| l.contains(&call)) || arguments_decide.contains(&call) => ALLOW,
                _ => denied,
            };
            assert_eq!(verdict(&standard, call), expected, "{call}");
        }
        assert_eq!(verdict(&standard, i64::from(LAST_KNOWN) + 1), NOT_IMPLEMENTED);
        assert_eq!(verdict(&standard, 0x4000_0001), denied, "x32");
        let all = compile(Capabilities::all()).expect("compiles");
        for call in [libc::SYS_mount, libc::SYS_clone3, libc::SYS_reboot] {
            assert_eq!(verdict(&all, call), ALLOW, "{call}");
        }
    }
}
