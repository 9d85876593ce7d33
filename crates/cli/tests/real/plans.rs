//! A sample of plans, each on real sockets: a death is noticed when the plan says, in every state, and the
//! outage that is to be survived is.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::{Bound, Detection, Goals, Plan, Platform, Policy, Protection, apply, detection};
use deadpeer_lab::{Pair, deafen, isolated, sever};
use socket2::{Domain, Socket, Type};

/// The retransmission timeout on loopback: 200 ms and up to four more.
const RTO: Duration = Duration::from_millis(204);

/// Twenty goals of 6 to 15 s, with short and long outages; every fourth spares slow readers.
fn sample() -> Vec<Policy> {
    (0..20u64)
        .map(|n| {
            let detect = 6_000 + n * 7_919 % 9_000;
            let tolerate = if n % 2 == 0 { 300 } else { (detect - 4_500) / 4 };
            let goals = Goals {
                detect: Some(Duration::from_millis(detect)),
                tolerate: Some(Duration::from_millis(tolerate)),
                slow_readers: Some(n % 4 == 3),
                accept_rto_ceiling: Some(true),
                best_effort: Some(true), // with slow readers nothing keeps the shortest
                ..Goals::default()
            };
            goals.policy().unwrap()
        })
        .collect()
}

fn predicted(plan: &Plan, platform: &Platform) -> Detection {
    detection(&Protection::of(&plan.settings), platform, RTO)
}

/// Waits for a severed connection's end: with data in flight, or idle since before `start`.
fn silent_peer(policy: &Policy, write: bool, together: &Barrier) -> Duration {
    let pair = Pair::loopback().unwrap();
    let applied = apply(&pair.client, policy).unwrap();
    assert!(applied.gaps.is_empty(), "{:?}", applied.gaps);
    together.wait();
    let start = Instant::now();
    let _severed = sever(&pair.client, &pair.server).unwrap();
    let mut client = &pair.client;
    if write {
        client.write_all(b"is anybody there?").unwrap();
    }
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    start.elapsed()
}

/// Interrupts the way for as long as the policy tolerates, and says whether the connection lives: with data
/// in flight from the start of the outage, or idle with the outage just before the first probe.
fn outage(policy: &Policy, write: bool, together: &Barrier) -> bool {
    let pair = Pair::loopback().unwrap();
    let applied = apply(&pair.client, policy).unwrap();
    let idle = applied.now.active_keepalive().unwrap().idle();
    let made = Instant::now();
    together.wait();
    if !write {
        // A tenth of a second before the first probe may leave.
        thread::sleep((made + idle - Duration::from_millis(100)).saturating_duration_since(Instant::now()));
    }
    let severed = sever(&pair.client, &pair.server).unwrap();
    let (mut client, mut server) = (&pair.client, &pair.server);
    if write {
        client.write_all(b"?").unwrap();
    }
    thread::sleep(policy.outage());
    drop(severed);
    // By then a verdict would have fallen.
    let verdict = made + policy.detection_time() + Duration::from_secs(1);
    thread::sleep(verdict.saturating_duration_since(Instant::now()));
    if !write && client.write_all(b"?").is_err() {
        return false;
    }
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    server.read_exact(&mut [0]).is_ok()
}

fn deaf_listener(policy: &Policy, to: SocketAddr, together: &Barrier) -> Duration {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let applied = apply(&socket, policy).unwrap();
    assert!(applied.gaps.is_empty(), "{:?}", applied.gaps);
    together.wait();
    let start = Instant::now();
    let error = socket.connect(&to.into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    start.elapsed()
}

/// `heard`: how much earlier the peer was heard than the clock was started.
fn check(what: &str, bound: Bound, seen: Duration, heard: Duration, plan: &Plan) {
    let Bound::Within { least, most } = bound else { panic!("{what}: {bound:?}") };
    // A tick or two early by our own clock; late where the machine is busy.
    let early = Duration::from_millis(30);
    let late = Duration::from_secs(1);
    assert!(
        seen + heard + early >= least && seen <= most + late,
        "{what}: {seen:?} not in {least:?}..{most:?}: {:?}",
        plan.settings
    );
}

#[test]
fn twenty_plans_keep_their_promise_on_real_sockets() {
    isolated!(|| {
        let platform = deadpeer::platform();
        if !platform.rto_max_per_socket {
            eprintln!("skipped: this kernel has no TCP_RTO_MAX_MS for the plans that spare slow readers");
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let deaf = deafen(&listener).unwrap();
        let to = listener.local_addr().unwrap();
        let policies = sample();
        // Barriers keep the making of connections out of the waiting.
        let together = Arc::new(Barrier::new(policies.len() * 5));
        let made = Instant::now();
        let waiting: Vec<_> = policies
            .into_iter()
            .map(|policy| {
                let states: [fn(&Policy, SocketAddr, &Barrier) -> Duration; 3] = [
                    |policy, _, together| silent_peer(policy, false, together),
                    |policy, _, together| silent_peer(policy, true, together),
                    deaf_listener,
                ];
                let threads = states.map(|state| {
                    let (policy, together) = (policy.clone(), Arc::clone(&together));
                    thread::spawn(move || state(&policy, to, &together))
                });
                let survive = [false, true].map(|write| {
                    let (policy, together) = (policy.clone(), Arc::clone(&together));
                    thread::spawn(move || outage(&policy, write, &together))
                });
                (policy, threads, survive)
            })
            .collect();
        for (policy, threads, survive) in waiting {
            let plan = policy.plan(&platform).unwrap();
            let predicted = predicted(&plan, &platform);
            let [idle, in_flight, connecting] = threads.map(|thread| thread.join().unwrap());
            // An idle connection was heard when it was made.
            check("idle", predicted.idle, idle, made.elapsed().saturating_sub(idle), &plan);
            check("in flight", predicted.in_flight, in_flight, Duration::ZERO, &plan);
            check("connecting", predicted.connecting, connecting, Duration::ZERO, &plan);
            let late = Duration::from_secs(1);
            assert!(idle <= policy.detection_time() + late, "{idle:?}: {policy:?}");
            let survived = survive.map(|thread| thread.join().unwrap());
            assert_eq!(survived, [true; 2], "idle, in flight: {policy:?}");
        }
        drop(deaf);
    });
}

/// Packets and bytes that went over loopback: proc_net(5).
fn over_loopback() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap();
    let mut figures = line.split_whitespace().map(|figure| figure.parse().unwrap());
    let (bytes, packets) = (figures.next().unwrap(), figures.next().unwrap());
    (packets, bytes)
}

#[test]
fn a_probe_and_its_answer_cost_what_a_plan_counts() {
    isolated!(|| {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        let every = Duration::from_secs(1);
        let keepalive = socket2::TcpKeepalive::new().with_time(every).with_interval(every);
        socket2::SockRef::from(&client).set_tcp_keepalive(&keepalive).unwrap();
        let (packets, bytes) = over_loopback();
        let deadline = Instant::now() + Duration::from_secs(20);
        // Three probes with their answers, and nothing else in this namespace.
        let seen = loop {
            let (now, then) = over_loopback();
            if now >= packets + 6 {
                break (now - packets, then - bytes);
            }
            assert!(Instant::now() < deadline, "no probes");
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(seen.1 * 2, seen.0 * Plan::PROBE_BYTES, "{seen:?}");
    });
}
