//! Tests in a network namespace of their own.

use std::env;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio, Termination, exit};

use deadpeer_os::linux::namespace::{UserNamespace, isolate};
use deadpeer_os::linux::rtnetlink::Rtnetlink;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{Unavailable, skip};

/// Tells a child which test it runs, and that it is isolated.
const INSIDE: &str = "DEADPEER_LAB_ISOLATED";
/// If set, root too gets a user namespace, and only the powers that everyone can have.
const UNPRIVILEGED: &str = "DEADPEER_LAB_UNPRIVILEGED";
/// The exit status of a child whose test body ran and passed. Not 0: that is also the status of a test
/// harness that found no test of the name.
const PASSED: u8 = 86;

/// Runs the rest of a test in a process of its own, with its own network namespace, in which it is root.
///
/// `isolated!(body)` is [`isolated`](fn@isolated) with the name of the test function it stands in. Put
/// everything that the test does into the body: what stands outside runs twice.
///
/// ```no_run
/// use deadpeer_lab::{Network, isolated};
///
/// #[test]
/// fn a_test() {
///     isolated!(|| {
///         let network = Network::new().unwrap();
///         // …
///     });
/// }
/// ```
#[macro_export]
macro_rules! isolated {
    ($body:expr) => {{
        fn here() {}
        $crate::isolated($crate::test_name(&here), $body)
    }};
}

/// Runs `body` in a process of its own, with its own network namespace, in which it is root and loopback is
/// up; no privileges are needed for it. The macro [`isolated!`](crate::isolated!) finds out the name.
///
/// `test` is the full name of the calling test (`module::function`), as the test harness knows it: this
/// executable is run again with that name as its only test, comes by here again, and then runs `body`. The
/// output of that process becomes the caller's. It dies with the calling thread.
///
/// Root gets a network namespace only, others a user namespace, too; root too if the environment has
/// `DEADPEER_LAB_UNPRIVILEGED`. Where neither is to be had, the test is [skipped](skip()).
///
/// # Panics
/// If `body` panics or returns an error; if there is no test of the name; if the test is skipped where it
/// must not be.
pub fn isolated<R: Termination>(test: &str, body: impl FnOnce() -> R) {
    if env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        if let Err(error) = Rtnetlink::open().and_then(|mut netlink| netlink.set_link("lo", true)) {
            panic!("{error}");
        }
        let passed = body().report() == ExitCode::SUCCESS;
        // Not back to the harness: it has nothing to add, and could not return this status.
        exit(if passed { PASSED.into() } else { 1 });
    }
    match run_again(test) {
        Ok(status) if status.code() == Some(PASSED.into()) => {}
        Ok(status) if status.success() => panic!("the test executable ran no test of the name {test}"),
        Ok(status) => panic!("{test}, isolated, failed: {status}"),
        Err(unavailable) => skip(test, &unavailable),
    }
}

/// The name by which the test harness knows the function that `here` stands in.
#[doc(hidden)]
pub fn test_name<F>(_here: &F) -> &'static str {
    // "crate::module::function::here", with "::{{closure}}" before "::here" if it is called in one.
    let path = std::any::type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_crate, path)| path);
    path.split_once("::{{closure}}").or_else(|| path.rsplit_once("::")).map_or(path, |(test, _)| test)
}

fn run_again(test: &str) -> Result<ExitStatus, Unavailable> {
    let unavailable = |why| Unavailable {
        needs: "an isolated test needs root or user namespaces (sysctls user.max_user_namespaces, \
                kernel.unprivileged_userns_clone; AppArmor)",
        why,
    };
    let user =
        if env::var_os(UNPRIVILEGED).is_some() { UserNamespace::Always } else { UserNamespace::IfNeeded };
    let (output, child) = spawn(test, user).map_err(unavailable)?;
    Ok(forward(child, output).unwrap_or_else(|error| panic!("the isolated {test} got out of sight: {error}")))
}

/// The child, and what it writes.
fn spawn(test: &str, user: UserNamespace) -> io::Result<(PipeReader, Child)> {
    let (output, input) = io::pipe()?;
    // Not by its path, which may lead to a newer build by now, or to where this user may not go.
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input);
    isolate(&mut command, user);
    Ok((output, command.spawn()?))
    // With `command` the last writing end of ours is dropped: the pipe ends when the child's do.
}

/// Prints what the child writes as if this thread had, until the child ends.
fn forward(mut child: Child, mut output: PipeReader) -> io::Result<ExitStatus> {
    rustix::io::ioctl_fionbio(&output, true)?;
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let mut chunk = [0; 4096];
    loop {
        let mut ready = [
            PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut ready, None))?;
        let has_ended = !ready[1].revents().is_empty();
        match output.read(&mut chunk) {
            Ok(0) => return child.wait(),
            Ok(length) => print(&chunk[..length]),
            // Not only at the pipe's end: a program that the test left behind may hold it open for ever.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && has_ended => return child.wait(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[allow(clippy::print_stdout, reason = "the test harness captures only what `print!` prints")]
fn print(bytes: &[u8]) {
    print!("{}", String::from_utf8_lossy(bytes));
}
