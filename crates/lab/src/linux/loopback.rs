//! A network namespace of one's own with nothing but loopback.

use std::io;
use std::process::Command;

use deadpeer_os::linux::namespace::{NetworkNamespace, UserNamespace, isolate};
use deadpeer_os::linux::rtnetlink::Rtnetlink;

/// Programs that run alone with their loopback, without privileges.
///
/// ```no_run
/// use std::process::Command;
/// use deadpeer_lab::Loopback;
///
/// let status = Loopback::isolate(&mut Command::new("/proc/self/exe")).status()?;
/// // … and in the program that runs there:
/// Loopback::up()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Loopback;

impl Loopback {
    /// Lets `command` start in its own network namespace, where it is root; it dies with the thread that
    /// starts it. Its `spawn` then also fails with the errors of unshare(2): EPERM where the system forbids
    /// user namespaces.
    pub fn isolate(command: &mut Command) -> &mut Command {
        isolate(command, UserNamespace::IfNeeded);
        command
    }

    /// Runs `job` on a thread in a network namespace of its own, where loopback is up, and waits for it. The threads
    /// and programs that `job` starts are in it, too.
    ///
    /// # Errors
    /// Of `job`; of unshare(2) and setns(2): EPERM without CAP_SYS_ADMIN.
    ///
    /// # Panics
    /// If `job` does.
    pub fn another<R: Send>(job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        NetworkNamespace::create()?.run(|| {
            Self::up()?;
            job()
        })
    }

    /// Turns the loopback link of this namespace on.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in it.
    pub fn up() -> io::Result<()> {
        Rtnetlink::open().and_then(|mut netlink| netlink.set_link("lo", true)).map_err(io::Error::other)
    }
}
