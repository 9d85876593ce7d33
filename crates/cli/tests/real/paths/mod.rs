//! Verdicts on connections whose own way out is in doubt: routes, first hops, witnesses.

mod first_hops;
mod routes;
mod uplinks;
mod witnesses;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use deadpeer_lab::{Network, Pair, Place, Program};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::common::{deadpeer, row, verdict};
use crate::verdicts::output;

/// A [`Network`] whose left host has a second uplink to the router:
///
/// ```text
///   left                          router                         right
///   eth0  10.99.1.2 ────────────── to-left    to-right ─────────── eth0
///   eth1  10.99.3.2 ────────────── to-left-2
///         fd99:3::2, fe80::3:2     10.99.3.1, fd99:3::1, fe80::3:1
/// ```
struct Uplinks {
    network: Network,
    _resident: Program,
}

impl Uplinks {
    fn new() -> Self {
        let network = Network::new().unwrap();
        // Somebody by whose number ip(8) finds the router's namespace.
        let resident = network.spawn(Place::Router, Command::new("sleep").arg("300")).unwrap();
        let uplinks = Self { network, _resident: resident };
        for place in [Place::Left, Place::Router] {
            // The kernel takes a lost reverse path for a forged packet where this is on.
            uplinks.sh(place, "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done");
        }
        let router = uplinks._resident.id();
        uplinks.sh(
            Place::Left,
            &format!("ip link add eth1 type veth peer name to-left-2 netns {router}; ip link set eth1 up"),
        );
        uplinks.sh(
            Place::Router,
            "ip link set to-left-2 up; ip address add 10.99.3.1/24 dev to-left-2
             ip address add fd99:3::1/64 dev to-left-2 nodad; ip address add fe80::3:1/64 dev to-left-2 nodad
             ip address add fe80::1:1/64 dev to-left nodad",
        );
        uplinks.sh(
            Place::Left,
            "ip address add 10.99.3.2/24 dev eth1; ip address add fd99:3::2/64 dev eth1 nodad
             ip address add fe80::3:2/64 dev eth1 nodad; ip address add fe80::1:2/64 dev eth0 nodad
             until ip link show eth1 | grep -q 'state UP'; do sleep 0.01; done",
        );
        uplinks
    }

    /// Runs shell commands in `place`; they must end well.
    fn sh(&self, place: Place, script: &str) {
        sh(&self.network, place, script);
    }

    /// Connects from the left host to a port of its own at `address`, with a socket that `prepare` has seen.
    fn pair(&self, address: IpAddr, prepare: impl FnOnce(&Socket) -> io::Result<()> + Send) -> Pair {
        pair(&self.network, Place::Right, SocketAddr::new(address, 0), prepare)
    }

    /// The router drops everything that arrives on a link of its, ARP included: its link stays up.
    fn deafen(&self, link: &str) {
        deafen(&self.network, link);
    }

    fn hear_again(&self) {
        self.sh(Place::Router, "nft delete table netdev deaf");
    }

    fn probe(&self) -> Vec<Value> {
        ask(&self.network, &["--probe"])
    }
}

fn right(n: usize) -> IpAddr {
    Network::RIGHT_V4[n].into()
}

fn sh(network: &Network, place: Place, script: &str) {
    let output = network.run(place, || Command::new("sh").args(["-ec", script]).output()).unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn deafen(network: &Network, link: &str) {
    let hook = format!("type filter hook ingress device {link} priority 0;");
    sh(
        network,
        Place::Router,
        &format!("nft 'table netdev deaf {{ chain everything {{ {hook} drop; }}; }}'"),
    );
}

fn pair(
    network: &Network,
    there: Place,
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()> + Send,
) -> Pair {
    let listener = network.run(there, || TcpListener::bind(address)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = network
        .left(|| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            prepare(&socket)?;
            let mut address = address;
            address.set_port(port);
            if let SocketAddr::V6(v6) = &mut address {
                v6.set_scope_id(0); // that of the other end
            }
            socket.connect(&address.into())?;
            Ok(TcpStream::from(socket))
        })
        .unwrap();
    let (server, _) = listener.accept().unwrap();
    Pair { client, server }
}

/// Scans in the left host.
fn ask(network: &Network, args: &[&str]) -> Vec<Value> {
    let mut command = deadpeer();
    command.args(["scan", "--json"]).args(args).stdout(Stdio::piped());
    output(network.spawn(Place::Left, &mut command).unwrap())
}

/// Scans in the left host without one of root's capabilities.
fn ask_without(network: &Network, capability: &str, args: &[&str]) -> Vec<Value> {
    let mut command = Command::new("setpriv");
    let without = format!("-{capability}");
    command.args(["--bounding-set", &without, "--inh-caps", &without, "--", env!("CARGO_BIN_EXE_deadpeer")]);
    command.args(["scan", "--json"]).args(args).stdout(Stdio::piped());
    output(network.spawn(Place::Left, &mut command).unwrap())
}

fn of<'r>(rows: &'r [Value], pair: &Pair) -> &'r Value {
    let mut local = pair.client.local_addr().unwrap();
    if let SocketAddr::V6(v6) = &mut local {
        v6.set_scope_id(0); // a row has none
    }
    row(rows, local)
}

/// Our own way is in doubt, for this reason.
#[track_caller]
fn assert_doubtful(rows: &[Value], pair: &Pair, reason: &str) {
    let row = of(rows, pair);
    assert_eq!(verdict(row), "suspect local-path", "{row:#}");
    let told =
        row["evidence"].as_array().unwrap().iter().any(|evidence| {
            evidence["kind"] == "path" && evidence["text"].as_str().unwrap().contains(reason)
        });
    assert!(told, "no evidence says `{reason}`: {row:#}");
}

#[track_caller]
fn assert_dead(rows: &[Value], pair: &Pair) {
    let row = of(rows, pair);
    assert_eq!(row["verdict"], "dead", "{row:#}");
}

#[track_caller]
fn assert_alive(rows: &[Value], pair: &Pair) {
    let row = of(rows, pair);
    assert_eq!(row["verdict"], "alive", "{row:#}");
}
