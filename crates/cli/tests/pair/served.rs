//! A running `deadpeer serve`.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::told::{SOON, Told};

pub(crate) struct Served {
    told: Told,
    pub address: SocketAddr,
    pub status: SocketAddr,
}

impl Served {
    pub(crate) fn start(listen: &str, args: &[&str]) -> Self {
        let args = [&["serve", "--json", "--status", "0", "--listen", listen], args].concat();
        let mut told = Told::start(&args);
        let first = told.next("listening");
        let address = first["address"].as_str().unwrap().parse().unwrap();
        let (_, status) = first["text"].as_str().unwrap().rsplit_once("http://").unwrap();
        Self { told, address, status: status.parse().unwrap() }
    }

    /// No healthy client is said to be dead, for so long.
    pub(crate) fn nobody_dies(&mut self, time: Duration) {
        let healthy = |event: &&Value| event["id"].as_str().is_some_and(|id| id.starts_with("client"));
        let told = self.told.during(time).iter().filter(healthy).find(|event| event["event"] == "died");
        assert!(told.is_none(), "{told:?}");
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.status).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub(crate) fn sessions(&self, query: &str) -> Value {
        serde_json::from_str(&self.get(&format!("/sessions{query}"))).unwrap()
    }

    /// A metric's value.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    pub(crate) fn until_metric_is(&self, name: &str, value: f64) {
        until(name, || self.metric(name), &value);
    }

    /// So many descriptors it has, and so many threads; without those that answer for the status as they are needed.
    pub(crate) fn held(&self) -> (usize, usize) {
        let entries =
            |what| std::fs::read_dir(format!("/proc/{}/{what}", self.program.id())).unwrap().flatten();
        let name =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        (entries("fd").count(), entries("task").map(name).filter(|name| !name.starts_with("tokio")).count())
    }

    /// It holds so much again; the last answer about its status may still be on its way out.
    pub(crate) fn until_held_is(&self, before: (usize, usize)) {
        until("how many descriptors and threads it has", || self.held(), &before);
    }

    /// Kilobytes of memory that it has had at most.
    pub(crate) fn peak(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// Waits until what is looked at is as wanted.
fn until<T: PartialEq + Debug>(what: &str, look: impl Fn() -> T, wanted: &T) {
    let deadline = Instant::now() + SOON;
    loop {
        let seen = look();
        if seen == *wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{what} is {seen:?}, not {wanted:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Deref for Served {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.told
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Told {
        &mut self.told
    }
}
