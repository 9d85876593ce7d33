//! A server on one host, a client on another, and what can happen between them.

use std::thread;
use std::time::{Duration, Instant};

use deadpeer::host::{Filter, Scan};
use deadpeer_lab::{Cut, Direction, Network, Place, Unplugged, isolated};

use crate::common::{DETECT, DONE, Events, arrived, config, connect, serve, word};

/// What a fault does to each side.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It is told in time, as one of these.
    Told(&'static [&'static str]),
    /// Nothing is told.
    Survives,
}
use Outcome::{Survives, Told};

/// Silence without a better explanation.
const SILENT: Outcome = Told(&["heartbeat-missed", "unreachable", "silent-in-flight"]);
/// How late a death may be told beyond the promise: the loop's tick, and a machine that does other things as well.
const LATE: Duration = Duration::from_millis(700);

struct Case {
    network: Network,
    server: Events,
    client: Events,
    held: (deadpeer_hub::Server, deadpeer_hub::Client),
}

impl Case {
    /// The server on the right, the client on the left, a session between them.
    fn new() -> Self {
        let network = Network::new().unwrap();
        let listen = format!("{}:7433", Network::RIGHT_V4[0]);
        let (hub, server) = network.right(|| Ok(serve(&listen, config()))).unwrap();
        let (user, client) = network.left(|| Ok(connect(hub.address(), "left"))).unwrap();
        assert_eq!(server.find(arrived), "left");
        client.find(arrived);
        // The first beats have passed.
        client.silent_for(Duration::from_millis(700));
        Self { network, server, client, held: (hub, user) }
    }

    /// Applies a fault, and compares what each side tells.
    fn meets(&self, name: &str, server: Outcome, client: Outcome, fault: Fault) {
        let began = Instant::now();
        let fault = fault(self);
        for (side, events, outcome) in [("server", &self.server, server), ("client", &self.client, client)] {
            match outcome {
                Told(words) => {
                    let told = events.find(word);
                    let after = began.elapsed();
                    assert!(words.contains(&told), "{name}: the {side} tells {told} after {after:?}");
                    assert!(after <= DETECT + LATE, "{name}: the {side} tells {told} only after {after:?}");
                }
                Survives => events.silent_for(DETECT + LATE),
            }
        }
        drop(fault);
    }

    /// They find each other again.
    fn meet_again(&self) {
        self.client.find(arrived);
        assert_eq!(self.server.find(arrived), "left");
    }
}

/// Ends the sockets of a place without a word to the other side: the path is cut meanwhile.
fn reboot(case: &Case, place: Place) -> Held<'_> {
    let cut = case.network.cut(Direction::Both).unwrap();
    case.network
        .run(place, || {
            let filter = Filter::parse(["port:7433"]).unwrap();
            let report = Scan::new().filter(filter).run().unwrap();
            for finding in report.findings() {
                finding.connection.destroy().unwrap();
            }
            Ok(())
        })
        .unwrap();
    cut.heal().unwrap();
    Held::Nothing
}

/// A fault for as long as it is held.
#[allow(dead_code, reason = "held, not looked at")]
enum Held<'c> {
    Cut(Cut<'c>),
    Unplugged(Unplugged<'c>),
    Nothing,
}

type Fault = for<'c> fn(&'c Case) -> Held<'c>;

fn outage(case: &Case) -> Held<'_> {
    let cut = case.network.cut(Direction::Both).unwrap();
    thread::sleep(Duration::from_millis(450));
    cut.heal().unwrap();
    Held::Nothing
}

#[test]
fn every_fault_of_the_network_on_both_sides() {
    // The side that still hears, until the other gives up and says so: by a reset, which it hears or does not.
    const UNTIL_RESET: Outcome = Told(&["reset", "heartbeat-missed"]);
    const REBOOTED: Outcome = Told(&["aborted-here"]);
    const RESET: Outcome = Told(&["reset"]);
    let cases: [(&str, Outcome, Outcome, Fault); 9] = [
        ("silence", SILENT, SILENT, |case| Held::Cut(case.network.cut(Direction::Both).unwrap())),
        ("the client hears nothing", UNTIL_RESET, SILENT, |case| {
            Held::Cut(case.network.cut(Direction::RightToLeft).unwrap())
        }),
        ("the server hears nothing", SILENT, UNTIL_RESET, |case| {
            Held::Cut(case.network.cut(Direction::LeftToRight).unwrap())
        }),
        ("a router says unreachable", SILENT, SILENT, |case| {
            Held::Cut(case.network.unreachable(Direction::Both).unwrap())
        }),
        ("the client's cable is pulled", SILENT, SILENT, |case| {
            Held::Unplugged(case.network.unplug(Place::Left).unwrap())
        }),
        ("the server's cable is pulled", SILENT, SILENT, |case| {
            Held::Unplugged(case.network.unplug(Place::Right).unwrap())
        }),
        ("an outage that heals", Survives, Survives, outage),
        ("the client's host reboots", RESET, REBOOTED, |case| reboot(case, Place::Left)),
        ("the server's host reboots", REBOOTED, RESET, |case| reboot(case, Place::Right)),
    ];
    isolated!(|| {
        thread::scope(|scope| {
            for (name, server, client, fault) in cases {
                scope.spawn(move || {
                    let case = Case::new();
                    case.meets(name, server, client, fault);
                    if matches!(server, Told(_)) {
                        // The fault is healed.
                        case.meet_again();
                    }
                    let (hub, user) = case.held;
                    user.stop(DONE).unwrap();
                    hub.stop(DONE).unwrap();
                });
            }
        });
    });
}
