//! A first hop is asked, whatever the kernel's table of neighbours says.

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use deadpeer_lab::{Network, Pair, Place, isolated};

use super::{Uplinks, ask, ask_without, assert_alive, assert_dead, assert_doubtful, deafen, pair, right, sh};

/// Makes a neighbour's entry one that an administrator has set.
fn set_by_hand(address: &str, link: &str) -> String {
    format!(
        "mac=$(ip neighbour show {address} dev {link} | sed 's/.*lladdr \\([^ ]*\\).*/\\1/')
         ip neighbour replace {address} dev {link} lladdr $mac nud permanent"
    )
}

#[test]
fn a_gateway_that_is_dead_and_still_reachable_in_the_table_is_found_out() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let v4 = Pair::across(&network, right(0)).unwrap();
        let v6 = Pair::across(&network, Network::RIGHT_V6[0].into()).unwrap();
        deafen(&network, "to-left");
        let reachable = |gateway: &str| {
            format!(
                "mac=$(ip neighbour show {gateway} dev eth0 | sed 's/.*lladdr \\([^ ]*\\).*/\\1/')
                 ip neighbour replace {gateway} dev eth0 lladdr $mac nud reachable
                 ip neighbour show {gateway} dev eth0 | grep -q REACHABLE"
            )
        };
        sh(&network, Place::Left, &reachable("10.99.1.1"));
        sh(&network, Place::Left, &reachable("fd99:1::1"));
        let rows = ask(&network, &["--probe"]);
        assert_doubtful(&rows, &v4, "gateway did not answer");
        assert_doubtful(&rows, &v6, "gateway did not answer");
    });
}

#[test]
fn a_gateway_that_answers_leaves_a_dead_peer_dead() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let v4 = Pair::across(&network, right(0)).unwrap();
        let v6 = Pair::across(&network, Network::RIGHT_V6[0].into()).unwrap();
        let _cuts = [right(0), Network::RIGHT_V6[0].into()].map(|peer| network.cut_off(peer).unwrap());
        // The table says the opposite, which proves nothing, either.
        sh(&network, Place::Left, "ip neighbour flush dev eth0");
        let rows = ask(&network, &["--probe"]);
        assert_dead(&rows, &v4);
        assert_dead(&rows, &v6);
        // A scan that asks no peer asks no gateway.
        let rows = ask(&network, &[]);
        assert!(rows.iter().all(|row| row["verdict"] != "dead"), "{rows:#?}");
    });
}

#[test]
fn without_cap_net_raw_a_witness_must_do() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let gone = Pair::across(&network, right(0)).unwrap();
        let _cut = network.cut_off(right(0)).unwrap();
        let ask = || ask_without(&network, "net_raw", &["--probe"]);
        assert_doubtful(&ask(), &gone, "was not asked");
        let _witness = Pair::across(&network, right(1)).unwrap();
        assert_dead(&ask(), &gone);
    });
}

#[test]
fn a_peer_on_our_own_link_needs_a_witness_there() {
    isolated!(|| {
        let network = Network::new().unwrap();
        sh(&network, Place::Router, "ip address add 10.99.1.5/24 dev to-left");
        let on_link = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            pair(&network, Place::Router, SocketAddr::new(address, 0), |_| Ok(()))
        };
        let gone = on_link("10.99.1.5");
        sh(
            &network,
            Place::Router,
            "nft 'table netdev gone { chain everything { type filter hook ingress device to-left priority 0;
             arp daddr ip 10.99.1.5 drop; ip daddr 10.99.1.5 drop; }; }'",
        );
        assert_doubtful(&ask(&network, &["--probe"]), &gone, "did not answer our question on the link");
        let witness = on_link("10.99.1.1");
        let rows = ask(&network, &["--probe"]);
        assert_dead(&rows, &gone);
        assert_alive(&rows, &witness);
    });
}

/// An address by hand is that of a neighbour that may not answer; then only a witness tells.
#[test]
fn the_silence_of_a_neighbour_that_was_set_by_hand_proves_nothing() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let gone = Pair::across(&network, right(0)).unwrap();
        sh(&network, Place::Left, &set_by_hand("10.99.1.1", "eth0"));
        sh(&network, Place::Router, &set_by_hand("10.99.1.2", "to-left"));
        sh(
            &network,
            Place::Router,
            "nft 'table netdev deaf { chain arp_only { type filter hook ingress device to-left priority 0;
             ether type arp drop; }; }'",
        );
        let _cut = network.cut_off(right(0)).unwrap();
        assert_doubtful(&ask(&network, &["--probe"]), &gone, "was not asked");
        let witness = Pair::across(&network, right(1)).unwrap();
        let rows = ask(&network, &["--probe"]);
        assert_alive(&rows, &witness);
        assert_dead(&rows, &gone);
    });
}

#[test]
fn a_link_that_vanishes_while_its_gateway_is_asked_is_our_own_fault() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        uplinks.sh(Place::Left, "ip route replace default via 10.99.3.1 dev eth1");
        let lost = uplinks.pair(right(0), |_| Ok(()));
        uplinks.deafen("to-left-2");
        let rows = std::thread::scope(|scope| {
            let asking = scope.spawn(|| uplinks.probe());
            // Amid the questions to the peer today; whenever it is, nobody may be called dead for it.
            sleep(Duration::from_millis(3_500));
            uplinks.sh(Place::Router, "ip link delete to-left-2");
            asking.join().unwrap()
        });
        let row = super::of(&rows, &lost);
        assert_ne!(row["verdict"], "dead", "{row:#}");
    });
}

#[test]
fn first_hops_are_asked_in_the_namespace_of_their_connections() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let mut sleep = std::process::Command::new("sleep");
        let _resident = network.spawn(Place::Left, sleep.arg("60")).unwrap();
        let pair = Pair::across(&network, right(0)).unwrap();
        let port = format!("local::{}", pair.client.local_addr().unwrap().port());
        let from_outside = || crate::common::scan(&["--probe", "--all-netns", &port]);
        let cut = network.cut_off(right(0)).unwrap();
        assert_dead(&from_outside(), &pair);
        cut.heal().unwrap();
        deafen(&network, "to-left");
        assert_doubtful(&from_outside(), &pair, "gateway did not answer");
    });
}

/// A hundred gateways, of which half are dead, are asked in the time of one.
#[test]
fn a_hundred_gateways_are_asked_at_once() {
    const GATEWAYS: usize = 100;
    isolated!(|| {
        let network = Network::new().unwrap();
        let each = |line: &dyn Fn(usize) -> String| (0..GATEWAYS).map(line).collect::<Vec<_>>().join("\n");
        sh(&network, Place::Right, &each(&|n| format!("ip address add 10.98.0.{}/32 dev eth0", n + 1)));
        let addresses = each(&|n| format!("ip address add 10.99.1.{}/24 dev to-left", n + 100));
        sh(&network, Place::Router, &format!("ip route add 10.98.0.0/24 via 10.99.2.2\n{addresses}"));
        let routes = |n: usize| format!("ip route add 10.98.0.{}/32 via 10.99.1.{}", n + 1, n + 100);
        sh(&network, Place::Left, &each(&routes));
        let pairs: Vec<_> = (0..GATEWAYS)
            .map(|n| Pair::across(&network, IpAddr::from([10, 98, 0, n as u8 + 1])).unwrap())
            .collect();
        let half = each(&|n| match n % 2 {
            0 => format!("ip address delete 10.99.1.{}/24 dev to-left", n + 100),
            _ => String::new(),
        });
        sh(&network, Place::Router, &half);
        let began = Instant::now();
        let _cut = network.cut(deadpeer_lab::Direction::Both).unwrap();
        let rows = ask(&network, &["--probe"]);
        assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
        for (n, pair) in pairs.iter().enumerate() {
            match n % 2 {
                0 => assert_doubtful(&rows, pair, "gateway did not answer"),
                _ => assert_dead(&rows, pair),
            }
        }
    });
}
