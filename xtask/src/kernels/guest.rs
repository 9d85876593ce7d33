//! What a guest's file system holds: busybox, the kernel's modules, our programs and the checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cache::{Kernel, tool};
use super::checks::{Check, Work};
use super::command::{Interrupt, output};
use super::initramfs::Initramfs;
use super::programs::Programs;

/// The modules that the programs need, in the cloud kernels. What a kernel lacks or has built in is left out.
const MODULES: [&str; 22] = [
    "veth",
    "dummy",
    "tun",
    "bridge",
    "af_packet",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
    "raw_diag",
    "mptcp_diag",
    "nf_tables",
    "nft_ct",
    "nft_limit",
    "nft_reject_inet",
    "nft_compat",
    "nf_conntrack",
    "tls",
    "sch_tbf",
    "sch_netem",
    "act_mirred",
    "cls_u32",
    "ipv6",
];
/// Programs of this machine that tests start, with their libraries, where they are installed.
const TOOLS: [&str; 7] = ["bash", "setpriv", "ps", "ip", "ss", "tc", "nft"];
/// How long one check may take by the guest's clock, seconds.
const CHECK_LIMIT: u32 = 1200;

/// A kernel and its file system.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) image: PathBuf,
    /// The file system, in the run's folder for temporary files.
    pub(super) initramfs: PathBuf,
    /// Where the kernel's messages go.
    pub(super) console: PathBuf,
}

impl Guest {
    /// Writes the file system into `scratch`, in place of that of the kernel before.
    pub(super) fn make(
        kernel: &Kernel,
        checks: &[&Check],
        programs: &Programs,
        scratch: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let path = scratch.join("initramfs");
        let mut fs = Initramfs::create(&path)?;
        for folder in ["/proc", "/sys", "/dev", "/run", "/root", "/etc", "/var/lib", "/usr/lib"] {
            fs.folder(folder, 0o755)?;
        }
        fs.folder("/tmp", 0o1777)?;
        add_busybox(&mut fs, interrupt)?;
        add_tools(&mut fs, interrupt)?;
        add_modules(&mut fs, kernel, scratch, interrupt)?;
        for (name, text) in [
            ("passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
            ("group", "root:x:0:\nnogroup:x:65534:\n"),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        ] {
            fs.file(&format!("/etc/{name}"), 0o644, text.as_bytes())?;
        }
        for program in programs.all() {
            fs.copy(&program.stripped, &format!("/programs/{}", program.name()))?;
        }
        let inside = format!("/programs/{}", programs.deadpeer.name());
        fs.link("/usr/local/bin/deadpeer", &inside)?;
        // Tests know the command by the path at which cargo built it.
        let built = programs.deadpeer.built.to_str().context("the target folder's path is no text")?;
        fs.link(built, &inside)?;
        let mut all = String::new();
        for check in checks {
            let script = script(check, programs);
            fs.file(&format!("/checks/{}", check.name), 0o644, script.as_bytes())?;
            all.push_str(&format!("check {} {CHECK_LIMIT}\n", check.name));
        }
        fs.file("/checks/all", 0o644, all.as_bytes())?;
        fs.file("/init", 0o755, include_bytes!("init.sh"))?;
        fs.finish().with_context(|| format!("write {}", path.display()))?;
        Ok(Self { image: kernel.image(), initramfs: path, console: scratch.join("console") })
    }
}

/// The shell script of a check.
fn script(check: &Check, programs: &Programs) -> String {
    match &check.work {
        Work::Demo => "exec deadpeer demo --json\n".into(),
        Work::Lab => "exec deadpeer lab --json\n".into(),
        Work::Tests { suite, filter } => {
            let mut script =
                String::from("export DEADPEER_LAB_REQUIRED=1 RUST_BACKTRACE=0\ncd /tmp\nstatus=0\n");
            for program in programs.of(suite) {
                let (name, filter) = (program.name(), filter.join(" "));
                script.push_str(&format!(
                    "printf '\\n\\036program {name}\\n'\n/programs/{name} --test-threads=1 {filter} || status=1\n"
                ));
            }
            script + "exit $status\n"
        }
    }
}

fn add_busybox(fs: &mut Initramfs<impl std::io::Write>, interrupt: &Interrupt) -> Result<()> {
    let list =
        output(Command::new("busybox").arg("--list"), interrupt).context("apt-get install busybox-static")?;
    fs.copy(&find("busybox").context("busybox is not on the path")?, "/bin/busybox")?;
    for applet in list.lines().filter(|applet| *applet != "busybox") {
        fs.link(&format!("/bin/{applet}"), "busybox")?;
    }
    fs.link("/sbin", "bin")?;
    Ok(())
}

/// busybox has some of these, too, with fewer options than tests use.
fn add_tools(fs: &mut Initramfs<impl std::io::Write>, interrupt: &Interrupt) -> Result<()> {
    let mut libraries = std::collections::BTreeSet::new();
    for (name, path) in TOOLS.iter().filter_map(|name| Some((name, find(name)?))) {
        fs.copy(&path, &format!("/usr/local/bin/{name}"))?;
        // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)"
        let needed = output(Command::new("ldd").arg(&path), interrupt).unwrap_or_default();
        libraries.extend(needed.split_whitespace().filter(|word| word.starts_with('/')).map(String::from));
    }
    for library in &libraries {
        fs.copy(Path::new(library), library)?;
    }
    Ok(())
}

/// The modules and what they need, in the order in which they can be loaded.
fn add_modules(
    fs: &mut Initramfs<impl std::io::Write>,
    kernel: &Kernel,
    scratch: &Path,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut order = String::new();
    let mut seen = std::collections::BTreeSet::new();
    for module in MODULES {
        let mut modprobe = Command::new(tool("modprobe"));
        modprobe.args(["--show-depends", "--set-version", &kernel.release, "--dirname"]);
        // It fails for a module that the kernel does not have.
        let Ok(needed) = output(modprobe.arg(kernel.root()).arg(module), interrupt) else { continue };
        for file in needed.lines().filter_map(module_file) {
            let file = Path::new(&file);
            let name = file.file_name().context("a module without a name")?.to_string_lossy().into_owned();
            if seen.insert(name.clone()) {
                let plain = name.trim_end_matches(".xz");
                fs.file(&format!("/modules/{plain}"), 0o644, &read_module(file, scratch, interrupt)?)?;
                order.push_str(&format!("{plain}\n"));
            }
        }
    }
    Ok(fs.file("/modules/order", 0o644, order.as_bytes())?)
}

/// The file in a line of modprobe: "insmod /lib/modules/…/dummy.ko numdummies=0", with this machine's options.
fn module_file(line: &str) -> Option<String> {
    let (path, rest) = line.strip_prefix("insmod ")?.split_once(".ko")?;
    let packed = if rest.starts_with(".xz") { ".xz" } else { "" };
    Some(format!("{path}.ko{packed}"))
}

fn read_module(file: &Path, scratch: &Path, interrupt: &Interrupt) -> Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    if file.extension().is_none_or(|extension| extension != "xz") {
        return read(file);
    }
    let packed = scratch.join("module.xz");
    fs::copy(file, &packed).with_context(|| format!("copy {}", file.display()))?;
    output(Command::new("busybox").arg("unxz").arg("-f").arg(&packed), interrupt)?;
    read(&scratch.join("module"))
}

/// A program's path on this machine.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(sbin).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_options_are_no_part_of_its_path() {
        let file = |line| module_file(line);
        assert_eq!(file("insmod /a b/dummy.ko numdummies=0 ").as_deref(), Some("/a b/dummy.ko"));
        assert_eq!(file("insmod /a/veth.ko.xz ").as_deref(), Some("/a/veth.ko.xz"));
        assert_eq!(file("builtin ipv6"), None);
    }
}
