//! Programs that reach each other through a gateway and a server.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use deadpeer_core::{Platform, Policy};
use deadpeer_hub::{Config, Event, Gateway, GatewayConfig, Server, ServerConfig};
#[cfg(target_os = "linux")]
use deadpeer_lab::{Direction, Network, Place, isolated};
use socket2::SockRef;

use crate::common::{DETECT, DONE, Events, SOON, arrived, config, word};

/// Beyond the promise: the loop's tick, and a machine that does other things as well.
#[cfg(target_os = "linux")]
const LATE: Duration = Duration::from_millis(700);

pub(crate) fn gateway(listen: &str, server: SocketAddr, config: Config) -> (Gateway, Events) {
    let (tell, events) = sync_channel(1024);
    let server = server.to_string().parse().unwrap();
    let gateway = Gateway::start(GatewayConfig::new(listen.parse().unwrap(), server, config), tell).unwrap();
    (gateway, Events(events))
}

pub(crate) fn server(listen: &str, forward: SocketAddr, config: Config) -> (Server, Events) {
    let (tell, events) = sync_channel(1024);
    let mut server = ServerConfig::new(listen.parse().unwrap(), config);
    server.forward = Some(forward.to_string().parse().unwrap());
    (Server::start(server, tell).unwrap(), Events(events))
}

/// All on loopback: the listener of the place that is forwarded to, and both halves of the way there.
pub(crate) struct Way {
    pub(crate) target: TcpListener,
    pub(crate) server: (Server, Events),
    pub(crate) gateway: (Gateway, Events),
}

impl Way {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = server("127.0.0.1:0", target.local_addr().unwrap(), config.clone());
        let gateway = gateway("127.0.0.1:0", server.0.address(), config);
        Self { target, server, gateway }
    }

    /// A program's connection, and what the target accepted for it.
    pub(crate) fn connect(&self) -> (TcpStream, TcpStream) {
        let program = program(self.gateway.0.address());
        (program, self.accept())
    }

    pub(crate) fn accept(&self) -> TcpStream {
        let (accepted, _) = self.target.accept().unwrap();
        accepted.set_read_timeout(Some(SOON)).unwrap();
        accepted
    }

    /// Nothing is left of anything.
    pub(crate) fn is_empty_soon(&self) {
        let until = Instant::now() + SOON;
        loop {
            let (there, here) = (self.server.0.counters(), self.gateway.0.counters());
            if (there.held, here.held, there.buffered, here.buffered) == (0, 0, 0, 0) {
                return;
            }
            assert!(Instant::now() < until, "{there:?} {here:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

pub(crate) fn program(gateway: SocketAddr) -> TcpStream {
    let program = TcpStream::connect(gateway).unwrap();
    program.set_read_timeout(Some(SOON)).unwrap();
    program
}

/// Bytes that tell where they belong.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at / 7) as u8 ^ (at >> 9) as u8).collect()
}

pub(crate) fn is_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    matches!(stream.read_to_end(&mut rest), Err(error) if error.kind() == io::ErrorKind::ConnectionReset)
}

#[test]
fn what_is_said_arrives_whole_in_both_directions() {
    let way = Way::new();
    let gateway = way.gateway.0.address();
    thread::scope(|scope| {
        for (there, back) in [(0, 100), (1, 0), (5_000_000, 5_000_000), (70_000, 3), (3, 3_000_000)] {
            scope.spawn(move || {
                let mut program = program(gateway);
                thread::scope(|scope| {
                    let mut writer = program.try_clone().unwrap();
                    scope.spawn(move || {
                        let mut head = (there as u64).to_be_bytes().to_vec();
                        head.extend((back as u64).to_be_bytes());
                        head.extend(bytes(there));
                        writer.write_all(&head).unwrap();
                        // From now on only the other direction speaks.
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut answer = Vec::new();
                    program.read_to_end(&mut answer).unwrap();
                    assert!(answer == bytes(back), "{} of {back} bytes came back", answer.len());
                });
            });
        }
        for _ in 0..5 {
            let mut accepted = way.accept();
            scope.spawn(move || {
                let mut heard = Vec::new();
                accepted.read_to_end(&mut heard).unwrap();
                let number = |at: usize| u64::from_be_bytes(heard[at..at + 8].try_into().unwrap()) as usize;
                assert!(heard[16..] == bytes(number(0)), "{} of {} bytes", heard.len() - 16, number(0));
                accepted.write_all(&bytes(number(8))).unwrap();
            });
        }
    });
    for _ in 0..5 {
        assert_eq!(way.server.1.find(word), "left");
        assert_eq!(way.gateway.1.find(word), "left");
    }
    way.is_empty_soon();
}

#[test]
fn who_reads_slowly_lives_and_costs_little() {
    let mut config = config();
    config.limits.buffered_per_session = 8 * 1024;
    let way = Way::with(config);
    let (mut program, mut accepted) = way.connect();
    for stream in [&program, &accepted] {
        SockRef::from(stream).set_recv_buffer_size(128 * 1024).unwrap();
    }
    let mut talker = program.try_clone().unwrap();
    let talking = thread::spawn(move || {
        talker.write_all(&bytes(60_000_000)).unwrap();
        talker.shutdown(Shutdown::Write).unwrap();
    });
    // The target reads nothing for longer than a silent peer would live.
    thread::sleep(DETECT * 2);
    assert!(!talking.is_finished(), "the kernel's buffers hold all of it");
    let held = (way.server.0.counters().buffered, way.gateway.0.counters().buffered);
    assert!(held.0 <= 16 * 1024 && held.1 <= 16 * 1024, "{held:?} bytes are held");
    let mut heard = Vec::new();
    accepted.read_to_end(&mut heard).unwrap();
    assert!(heard == bytes(60_000_000), "{} bytes", heard.len());
    talking.join().unwrap();
    drop(accepted);
    assert_eq!(program.read(&mut [0; 16]).unwrap(), 0);
    way.is_empty_soon();
}

/// Wine 8 turns a reset into an end of file.
mod not_on_wine_8 {
    use super::*;

    #[test]
    fn an_end_that_is_not_the_end_of_the_data_is_a_reset() {
        let mut hurried = config();
        hurried.limits.stop_within = Duration::from_millis(200);
        let way = Way::with(hurried);
        // The target dies.
        let (mut program, accepted) = way.connect();
        SockRef::from(&accepted).set_linger(Some(Duration::ZERO)).unwrap();
        drop(accepted);
        assert!(is_reset(&mut program));
        assert_eq!((way.server.1.find(word), way.gateway.1.find(word)), ("plain-lost", "reset-by-other-end"));
        // The program dies.
        let (program, mut accepted) = way.connect();
        SockRef::from(&program).set_linger(Some(Duration::ZERO)).unwrap();
        drop(program);
        assert!(is_reset(&mut accepted));
        assert_eq!((way.server.1.find(word), way.gateway.1.find(word)), ("reset-by-other-end", "plain-lost"));
        // The server is stopped.
        let (mut program, mut accepted) = way.connect();
        way.gateway.1.find(arrived);
        let Way { server, gateway, .. } = way;
        server.0.stop(DONE).unwrap();
        assert!(is_reset(&mut program) && is_reset(&mut accepted));
        assert_eq!(gateway.1.find(word), "reset-by-other-end");
        gateway.0.stop(DONE).unwrap();
    }
}

#[test]
fn a_place_that_is_not_there_ends_the_program_s_connection() {
    let way = Way::new();
    let gateway_address = way.gateway.0.address();
    let Way { target, server, gateway } = way;
    drop(target);
    assert!(is_reset(&mut program(gateway_address)));
    assert_eq!(server.1.find(word), "plain-lost");
    assert_eq!(gateway.1.find(word), "reset-by-other-end");
    // Nor is the server.
    drop(server);
    assert!(is_reset(&mut program(gateway_address)));
    assert_eq!(gateway.1.find(word), "unreachable");
}

/// What the kernel can promise where there is no heartbeat (whole seconds).
#[cfg(target_os = "linux")]
const KERNEL: Duration = Duration::from_secs(6);

/// With kernel settings that keep [`KERNEL`] and spare who takes nothing.
#[cfg(target_os = "linux")]
fn protected() -> Config {
    let kernel = Policy::detect(KERNEL).survive(Duration::from_secs(1)).slow_readers(true);
    let kernel = kernel.accept_rto_ceiling(true).build().unwrap();
    let mut config = config();
    config.settings = Some(kernel.plan(&Platform::linux()).unwrap().settings);
    config
}

/// A program and its gateway on the left, the target on the right, and the server with it or on the router between
/// them.
#[cfg(target_os = "linux")]
struct Hosts {
    program: TcpStream,
    accepted: TcpStream,
    gateway: (Gateway, Events),
    server: (Server, Events),
    network: Network,
}

#[cfg(target_os = "linux")]
impl Hosts {
    fn new(place: Place, config: Config) -> Self {
        let network = Network::new().unwrap();
        let right = Network::RIGHT_V4[0];
        let target = network.right(|| TcpListener::bind((right, 5432))).unwrap();
        let forward = target.local_addr().unwrap();
        let listen = if place == Place::Right { format!("{right}:7433") } else { "10.99.1.1:7433".into() };
        let server = network.run(place, || Ok(server(&listen, forward, config.clone()))).unwrap();
        let far = server.0.address();
        let gateway = network.left(|| Ok(gateway("127.0.0.1:0", far, config))).unwrap();
        let program = network.left(|| Ok(program(gateway.0.address()))).unwrap();
        let (accepted, _) = target.accept().unwrap();
        accepted.set_read_timeout(Some(SOON)).unwrap();
        Self { program, accepted, gateway, server, network }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_silent_way_or_target_ends_the_program_s_connection_in_time() {
    let cases = [
        ("the way", Place::Right, false, DETECT),
        ("the target", Place::Router, false, KERNEL),
        // What a pulled cable drops on this side is no try that the kernel counts: the first are missing.
        ("the target, with data in flight", Place::Router, true, DETECT + Duration::from_secs(1)),
    ];
    isolated!(|| thread::scope(|scope| {
        for (silent, place, speaks, within) in cases {
            scope.spawn(move || {
                let hosts = Hosts::new(place, protected());
                let Hosts {
                    mut program,
                    mut accepted,
                    gateway: (_gateway, events),
                    server: _server,
                    network,
                } = hosts;
                program.write_all(b"hello").unwrap();
                accepted.read_exact(&mut [0; 5]).unwrap();
                let cut = network.unreachable(Direction::Both).unwrap();
                let _pulled = (place == Place::Router).then(|| network.unplug(Place::Right).unwrap());
                let began = Instant::now();
                if speaks {
                    program.write_all(b"are you there?").unwrap();
                }
                assert!(is_reset(&mut program), "{silent}");
                let after = began.elapsed();
                assert!(after <= within + LATE, "{silent} is silent: told only after {after:?}");
                let told = events.find(word);
                assert!(
                    ["heartbeat-missed", "unreachable", "reset-by-other-end"].contains(&told),
                    "{silent}: {told}"
                );
                drop(cut);
            });
        }
    }));
}

#[cfg(target_os = "linux")]
#[test]
fn a_way_that_falls_silent_under_load_ends_both_connections_in_time() {
    // Of the side whose session is not read while its program takes nothing only the kernel hears.
    isolated!(|| thread::scope(|scope| {
        for (name, target_reads, within) in
            [("data in flight", true, DETECT), ("a shut window", false, KERNEL)]
        {
            scope.spawn(move || {
                let hosts = Hosts::new(Place::Right, protected());
                let Hosts {
                    mut program,
                    mut accepted,
                    gateway: (_gateway, here),
                    server: (_server, there),
                    network,
                } = hosts;
                let mut talker = program.try_clone().unwrap();
                talker.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
                let talks = thread::spawn(move || while talker.write(&[7; 65_536]).is_ok() {});
                let reads = target_reads.then(|| {
                    let mut accepted = accepted.try_clone().unwrap();
                    accepted.read_exact(&mut [0; 1_000_000]).unwrap();
                    thread::spawn(move || is_reset(&mut accepted))
                });
                if !target_reads {
                    // It writes no more: all buffers on the way are full.
                    talks.join().unwrap();
                }
                let cut = network.cut(Direction::Both).unwrap();
                let began = Instant::now();
                assert!(is_reset(&mut program), "{name}");
                let after = began.elapsed();
                assert!(after <= DETECT + LATE, "{name}: the program is told only after {after:?}");
                assert_eq!(here.find(word), "heartbeat-missed", "{name}");
                let told = there.find(word);
                let after = began.elapsed();
                assert!(after <= within + LATE, "{name}: the server tells {told} only after {after:?}");
                assert!(
                    ["heartbeat-missed", "silent-in-flight", "silent-idle"].contains(&told),
                    "{name}: {told}"
                );
                assert!(
                    reads.map_or_else(|| is_reset(&mut accepted), |reads| reads.join().unwrap()),
                    "{name}"
                );
                drop(cut);
            });
        }
    }));
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_program_wrote_before_it_closed_arrives_after_an_outage() {
    isolated!(|| {
        let settings = protected().settings.unwrap();
        if !deadpeer::platform().rto_max_per_socket {
            eprintln!("skipped: this kernel has no TCP_RTO_MAX_MS");
            return;
        }
        assert!(matches!(settings.rto_max, deadpeer_core::Set::To(_)), "{settings:?}");
        let network = Network::new().unwrap();
        let target = network.right(|| TcpListener::bind((Network::RIGHT_V4[0], 5432))).unwrap();
        let forward = target.local_addr().unwrap();
        let server = network.left(|| Ok(server("127.0.0.1:0", forward, protected()))).unwrap();
        let far = server.0.address();
        let gateway = network.left(|| Ok(gateway("127.0.0.1:0", far, protected()))).unwrap();
        let mut program = network.left(|| Ok(program(gateway.0.address()))).unwrap();
        let (mut accepted, _) = target.accept().unwrap();
        // The target has nothing to say, so the connection is over with what the program says.
        accepted.shutdown(Shutdown::Write).unwrap();
        assert_eq!(program.read(&mut [0; 8]).unwrap(), 0);
        let cut = network.cut(Direction::Both).unwrap();
        program.write_all(&[7; 5_000]).unwrap();
        drop(program);
        assert_eq!(server.1.find(word), "left");
        thread::sleep(Duration::from_secs(10));
        cut.heal().unwrap();
        let mut all = Vec::new();
        accepted.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        accepted.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 5_000);
    });
}

#[test]
fn sessions_that_are_carried_are_listed() {
    let way = Way::new();
    let (program, _accepted) = way.connect();
    let Event::Arrived { who, .. } = way.gateway.1.next() else { panic!() };
    assert_eq!(who.address, program.local_addr().unwrap());
    assert_eq!(way.gateway.0.sessions()[0].address, who.address);
    assert_eq!(way.server.0.sessions().len(), 1);
}
