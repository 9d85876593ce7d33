//! What is set on each socket, read from the very socket, shared by the machine's cores.

use std::sync::Mutex;
use std::thread;

use deadpeer_core::{Known, Protection, TcpState, Why};
use deadpeer_os::linux::descriptors::Table;
use deadpeer_os::linux::{foreign, settings};

use super::connection::{Connection, Owner};

/// Sockets of one process are read in runs of this many: few enough to share a large process, many enough
/// that taking hold of the process costs nothing.
const RUN: usize = 1024;

/// Fills in the protection of connections that have none yet.
pub(super) fn fill(connections: &mut [Connection], workers: usize) {
    // By owner, so that each process is taken hold of once a run.
    let mut wanted: Vec<&mut Connection> = connections
        .iter_mut()
        .filter(|connection| connection.protection.keepalive.why() == Some(Why::NotAsked))
        .collect();
    wanted.sort_by_key(|connection| table(connection));
    let runs = Mutex::new(wanted.chunks_mut(RUN));
    let work = || {
        loop {
            // Its own statement, so that the lock is let go before the work.
            let run = runs.lock().ok().and_then(|mut runs| runs.next());
            let Some(run) = run else { break };
            read_run(run);
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
}

fn table(connection: &Connection) -> Option<Table> {
    connection.owner.as_ref().value().map(Owner::table)
}

fn read_run(run: &mut [&mut Connection]) {
    let mut held: Option<(Table, Result<foreign::Process, Why>)> = None;
    for connection in run {
        let connection = &mut **connection;
        let read = match &connection.owner {
            Known::Not(why) => Err(*why),
            Known::Is(owner) => {
                let table = owner.table();
                if held.as_ref().is_none_or(|(known, _)| *known != table) {
                    held = Some((table, owner.open()));
                }
                match &held {
                    Some((_, Ok(process))) => process
                        .with(owner.fd, connection.row.cookie, settings::read)
                        .and_then(|read| read.map_err(|_| Why::Failed)),
                    Some((_, Err(why))) => Err(*why),
                    None => Err(Why::Failed),
                }
            }
        };
        let row = &mut connection.row;
        connection.protection = match read {
            Ok(protection) => protection,
            // A listener's own timer is never a keepalive timer.
            Err(why) if row.facts.state == TcpState::Listen => Protection::unknown(why),
            Err(why) => Protection::from_timer(row.facts.state, row.facts.timer, why),
        };
        row.facts.keepalive_interval = connection.protection.active_keepalive().map(|on| on.interval());
        row.facts.rto_max = match connection.protection.rto_max {
            Known::Is(Some(ceiling)) => Some(ceiling),
            _ => connection.namespace.platform().rto_max.value(),
        };
    }
}

/// With `--skip-settings`: only what the list's own timer proves.
pub(super) fn skip(connections: &mut [Connection]) {
    for connection in connections {
        let facts = &connection.row.facts;
        if connection.protection.keepalive.why() == Some(Why::NotAsked) {
            connection.protection = Protection::from_timer(facts.state, facts.timer, Why::NotAsked);
        }
    }
}
