//! What is printed, on made-up connections.

use std::sync::Arc;
use std::time::Duration;

use deadpeer::host::{
    Census, CensusError, Connection, Cookie, Namespace, Owner, Process, Routing, Row, Scan, Taken, Want,
};
use deadpeer::{Facts, Keepalive, KeepaliveSeen, Known, Protection, TcpState, Timer, Why};
use deadpeer_lab::isolated;

use super::{group, json, summary, table};
use crate::scan::args::{Column, GroupBy};
use crate::terminal::Terminal;

/// A list made up for the tests.
struct MadeUp;

impl Census for MadeUp {
    fn take(&self, namespace: &Arc<Namespace>, _: Want) -> Result<Taken, CensusError> {
        let connections = rows().map(|(row, process, protection)| Connection {
            row,
            owner: process.map(|(pid, name)| Owner {
                thread: None,
                process: named(pid, name),
                fd: 7,
                processes: 1 + pid % 2,
            }),
            protection,
            namespace: Arc::clone(namespace),
        });
        Ok(Taken { connections: connections.into(), torn: false })
    }
}

type MadeUpRow = (Row, Known<(u32, &'static str)>, Protection);

fn rows() -> [MadeUpRow; 5] {
    let millis = Duration::from_millis;
    let heard = |ms| Facts { last_heard: Known::Is(millis(ms)), ..Facts::new(TcpState::Established) };
    let silent = Facts {
        timer: Timer::Retransmit(millis(2_400)),
        rto: millis(6_400),
        backoff: 5,
        retransmits: 5,
        in_flight: 1448,
        ..heard(10_600)
    };
    let leaked =
        Facts { last_heard: Known::Is(Duration::from_secs(8_100)), ..Facts::new(TcpState::CloseWait) };
    let shut = Facts {
        timer: Timer::WindowProbe(millis(300)),
        backoff: 3,
        unsent: 2_560_000,
        last_sent: Known::Is(millis(42_000)),
        ..heard(900)
    };
    let fresh = Facts { rtt: Some(Duration::from_micros(24)), rto: millis(204), ..heard(12) };
    let worker = Known::Is((812, "worker"));
    let guarded = Keepalive::new(Duration::from_secs(60), Duration::from_secs(5), 3).unwrap();
    [
        (row("10.0.0.5:44312", "127.0.0.9:5432", silent), Known::Is((811, "postgres")), read(Some(guarded))),
        (row("10.0.0.5:443", "203.0.113.77:50122", leaked), worker, read(None)),
        (row("10.0.0.5:443", "203.0.113.9:50111", shut), worker, read(None)),
        (
            row("10.0.0.5:22", "198.51.100.3:61000", heard(7_260_000)),
            Known::Not(Why::NoPermission),
            Protection::unknown(Why::NoPermission),
        ),
        (row("[2001:db8::1]:8080", "[2001:db8::2]:40000", fresh), worker, read(Some(guarded))),
    ]
}

fn row(local: &str, peer: &str, facts: Facts) -> Row {
    let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
    Row {
        local,
        peer,
        cookie: Cookie(4096),
        inode: 31_415,
        uid: 1000,
        interface: 0,
        routing: Routing::default(),
        facts,
    }
}

fn named(pid: u32, name: &str) -> Arc<Process> {
    let unit = Some(format!("{}.service", &name[..6]));
    Arc::new(Process { pid, name: Some(name.to_owned()), unit })
}

fn read(keepalive: Option<Keepalive>) -> Protection {
    let seen = match keepalive {
        Some(values) => KeepaliveSeen { enabled: true, values: Known::Is(values) },
        None => KeepaliveSeen { enabled: false, values: Known::Not(Why::KeepaliveOff) },
    };
    Protection { keepalive: Known::Is(seen), user_timeout: Known::Is(None), rto_max: Known::Is(None) }
}

fn terminal(width: u16) -> Terminal {
    Terminal { is_terminal: true, colour: false, width: Some(width) }
}

// The system's defaults rule the detection times: in a namespace of its own they are the kernel's.
#[test]
fn everything_that_is_printed() {
    isolated!(|| {
        let report = Scan::new().census(MadeUp).run().unwrap();
        let findings = report.findings();
        let all: Vec<_> = findings.iter().collect();
        let printed = |columns: &[Column], terminal| {
            let mut out = Vec::new();
            table::write(&mut out, &all, columns, terminal).unwrap();
            String::from_utf8(out).unwrap()
        };
        for width in [40, 60, 80, 100, 120, 160] {
            let text = printed(&[], terminal(width));
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= usize::from(width), "{widest} columns of {width}:\n{text}");
            insta::assert_snapshot!(format!("table_{width}_columns"), text);
        }
        let file = Terminal { is_terminal: false, colour: false, width: None };
        insta::assert_snapshot!("table_in_a_file", printed(&[], file));
        let chosen =
            [Column::State, Column::Unit, Column::Keepalive, Column::Queues, Column::Rtt, Column::Cause];
        insta::assert_snapshot!("table_of_chosen_columns", printed(&chosen, file));
        let colour = Terminal { colour: true, ..terminal(80) };
        insta::assert_snapshot!("table_in_colour", printed(&[Column::Verdict, Column::Peer], colour));
        insta::assert_snapshot!("summary", summary::line(&findings));

        let mut lines = Vec::new();
        json::write(&mut lines, &findings).unwrap();
        let inode = format!("\"netns\":{}", findings[0].connection.namespace.inode());
        let lines = String::from_utf8(lines).unwrap().replace(&inode, "\"netns\":0");
        insta::assert_snapshot!("json", lines);

        let mut groups = Vec::new();
        for key in [GroupBy::Peer, GroupBy::Process, GroupBy::Unit, GroupBy::Verdict] {
            group::write(&mut groups, &findings, key, false, usize::MAX).unwrap();
        }
        insta::assert_snapshot!("groups", String::from_utf8(groups).unwrap());
    });
}
