//! A host with two uplinks: each connection is judged by its own.

use deadpeer_lab::{Network, Place, isolated};
use socket2::Socket;
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Uplinks, ask_without, assert_alive, assert_dead, assert_doubtful, of, pair, right};

const GATEWAY: &str = "gateway did not answer";

fn from(address: &str) -> impl FnOnce(&Socket) -> std::io::Result<()> + Send + use<> {
    let address: std::net::IpAddr = address.parse().unwrap();
    move |socket| socket.bind(&SocketAddr::new(address, 0).into())
}

#[test]
fn a_source_rule_leads_over_the_uplink_that_is_judged() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        uplinks.sh(
            Place::Left,
            "ip rule add from 10.99.3.2 table 100; ip route add default via 10.99.3.1 table 100",
        );
        let first = uplinks.pair(right(0), from("10.99.1.2"));
        let second = uplinks.pair(right(1), from("10.99.3.2"));
        uplinks.deafen("to-left-2");
        let rows = uplinks.probe();
        assert_alive(&rows, &first);
        assert_doubtful(&rows, &second, GATEWAY);
        // The uplink is well, and the peer behind it is gone.
        uplinks.hear_again();
        let _cut = uplinks.network.cut_off(right(1)).unwrap();
        let rows = uplinks.probe();
        assert_alive(&rows, &first);
        assert_dead(&rows, &second);
    });
}

#[test]
fn a_mark_leads_over_the_uplink_that_is_judged() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        uplinks
            .sh(Place::Left, "ip rule add fwmark 7 table 100; ip route add default via 10.99.3.1 table 100");
        let plain = uplinks.pair(right(0), |_| Ok(()));
        let mut marked = uplinks.pair(right(1), |socket| socket.set_mark(7));
        uplinks.deafen("to-left-2");
        let rows = uplinks.probe();
        assert_alive(&rows, &plain);
        assert_doubtful(&rows, &marked, GATEWAY);
        // Without the right to read marks nobody knows which uplink it is, and witnesses of one are none.
        marked.client.write_all(b"to nobody").unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let rows = ask_without(&uplinks.network, "net_admin", &[]);
            if of(&rows, &marked)["retransmits"].as_u64() >= Some(4) {
                let row = of(&rows, &marked);
                assert_eq!(row["verdict"], "suspect", "{row:#}");
                break assert!(row["evidence"].to_string().contains("CAP_NET_ADMIN"), "{row:#}");
            }
            assert!(Instant::now() < patience, "{:#}", of(&rows, &marked));
            sleep(Duration::from_millis(200));
        }
    });
}

#[test]
fn a_rule_on_ports_leads_over_the_uplink_that_is_judged() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        uplinks.sh(
            Place::Left,
            "ip rule add ipproto tcp sport 7000-7009 table 100; ip route add default via 10.99.3.1 table 100",
        );
        let port = |port| move |socket: &Socket| socket.bind(&SocketAddr::from(([0; 4], port)).into());
        let [first, second] = [port(6999), port(7009)].map(|bind| uplinks.pair(right(0), bind));
        uplinks.deafen("to-left-2");
        let rows = uplinks.probe();
        assert_alive(&rows, &first);
        assert_doubtful(&rows, &second, GATEWAY);
    });
}

#[test]
fn a_bound_device_is_the_uplink_that_is_judged() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        uplinks.sh(Place::Left, "ip route add default via 10.99.3.1 dev eth1 metric 2000");
        let first = uplinks.pair(right(0), |_| Ok(()));
        let same_peer = uplinks.pair(right(1), |_| Ok(()));
        let bound = uplinks.pair(right(1), |socket| socket.bind_device(Some(b"eth1")));
        uplinks.deafen("to-left-2");
        let rows = uplinks.probe();
        assert_alive(&rows, &first);
        assert_alive(&rows, &same_peer);
        assert_doubtful(&rows, &bound, GATEWAY);
    });
}

#[test]
fn of_equal_routes_the_one_that_a_connection_takes_is_judged() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        // An address of neither uplink, for the kernel prefers the route of the address's own.
        uplinks.sh(
            Place::Left,
            "ip address add 10.99.9.9/32 dev lo; echo 1 > /proc/sys/net/ipv4/fib_multipath_hash_policy
             ip route replace default nexthop via 10.99.1.1 nexthop via 10.99.3.1",
        );
        uplinks.sh(Place::Router, "ip route add 10.99.9.9/32 via 10.99.1.2");
        let pairs: Vec<_> = (0..16).map(|n| uplinks.pair(right(n % 8), from("10.99.9.9"))).collect();
        uplinks.deafen("to-left-2");
        let rows = uplinks.probe();
        let (alive, doubtful): (Vec<_>, Vec<_>) =
            pairs.iter().partition(|pair| of(&rows, pair)["verdict"] == "alive");
        assert!(!alive.is_empty() && !doubtful.is_empty(), "each of 16 took the same way");
        doubtful.into_iter().for_each(|pair| assert_doubtful(&rows, pair, GATEWAY));
    });
}

#[test]
fn a_link_local_peer_is_looked_for_on_its_own_link() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        let link_local = |near: &str, far: &str, address: &str| {
            let near = NonZeroU32::new(index(&uplinks.network, Place::Left, near));
            let far = index(&uplinks.network, Place::Router, far);
            let address = SocketAddrV6::new(address.parse().unwrap(), 0, 0, far);
            let bind = move |socket: &Socket| socket.bind_device_by_index_v6(near);
            pair(&uplinks.network, Place::Router, address.into(), bind)
        };
        let first = link_local("eth0", "to-left", "fe80::1:1");
        let second = link_local("eth1", "to-left-2", "fe80::3:1");
        uplinks.deafen("to-left-2");
        let rows = uplinks.probe();
        assert_alive(&rows, &first);
        assert_doubtful(&rows, &second, "did not answer our question on the link");
    });
}

/// The number of an interface in the namespace `place`.
fn index(network: &Network, place: Place, link: &str) -> u32 {
    let show = || std::process::Command::new("ip").args(["-o", "link", "show", link]).output();
    let output = network.run(place, show).unwrap();
    String::from_utf8(output.stdout).unwrap().split(':').next().unwrap().parse().unwrap()
}
