//! Routes that lead nowhere, and addresses that are gone.

use std::net::SocketAddr;

use deadpeer_lab::{Network, Pair, Place, isolated};

use super::{Uplinks, ask, assert_alive, assert_dead, assert_doubtful, pair, right, sh};

#[test]
fn a_connection_whose_own_address_is_gone_is_not_called_dead() {
    isolated!(|| {
        let network = Network::new().unwrap();
        sh(
            &network,
            Place::Left,
            "ip address add 10.99.1.77/24 dev eth0; ip address add fd99:1::77/64 dev eth0 nodad",
        );
        let from = |local: &str, peer| {
            let local = SocketAddr::new(local.parse().unwrap(), 0);
            let bind = move |socket: &socket2::Socket| socket.bind(&local.into());
            pair(&network, Place::Right, SocketAddr::new(peer, 0), bind)
        };
        let v4 = from("10.99.1.77", right(0));
        let v6 = from("fd99:1::77", Network::RIGHT_V6[0].into());
        let witnesses = [from("10.99.1.2", right(1)), from("fd99:1::2", Network::RIGHT_V6[1].into())];
        sh(
            &network,
            Place::Left,
            "ip address delete 10.99.1.77/24 dev eth0; ip address delete fd99:1::77/64 dev eth0",
        );
        let rows = ask(&network, &["--probe"]);
        witnesses.iter().for_each(|witness| assert_alive(&rows, witness));
        assert_doubtful(&rows, &v4, "own address");
        assert_doubtful(&rows, &v6, "own address");
    });
}

#[test]
fn routes_that_refuse_are_our_own_fault() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let pairs: Vec<_> = (0..4).map(|n| Pair::across(&network, right(n)).unwrap()).collect();
        let v6: Vec<_> =
            (0..4).map(|n| Pair::across(&network, Network::RIGHT_V6[n].into()).unwrap()).collect();
        sh(
            &network,
            Place::Left,
            "n=2; for kind in unreachable blackhole prohibit; do
               ip route add $kind 10.99.2.$n/32; ip route add $kind fd99:2::$n/128; n=$((n + 1))
             done
             ip route delete default; ip -6 route delete default",
        );
        let rows = ask(&network, &["--probe"]);
        pairs.iter().chain(&v6).for_each(|pair| assert_doubtful(&rows, pair, "no route"));
    });
}

#[test]
fn an_ipv6_gateway_of_an_ipv4_route_is_asked_as_what_it_is() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        uplinks.sh(Place::Left, "ip -4 route replace default via inet6 fd99:3::1 dev eth1");
        let pair = uplinks.pair(right(0), |_| Ok(()));
        let cut = uplinks.network.cut_off(right(0)).unwrap();
        assert_dead(&uplinks.probe(), &pair);
        cut.heal().unwrap();
        uplinks.deafen("to-left-2");
        assert_doubtful(&uplinks.probe(), &pair, "gateway did not answer");
    });
}

/// As routers announce themselves.
#[test]
fn a_link_local_gateway_is_asked_on_its_link() {
    isolated!(|| {
        let uplinks = Uplinks::new();
        let peer = Network::RIGHT_V6[0].into();
        uplinks.sh(Place::Left, "ip -6 route replace default via fe80::3:1 dev eth1");
        let pair = uplinks.pair(peer, |_| Ok(()));
        let cut = uplinks.network.cut_off(peer).unwrap();
        assert_dead(&uplinks.probe(), &pair);
        cut.heal().unwrap();
        uplinks.deafen("to-left-2");
        assert_doubtful(&uplinks.probe(), &pair, "gateway did not answer");
    });
}

#[test]
fn a_peer_by_another_address_of_this_host_is_on_this_host() {
    isolated!(|| {
        let network = Network::new().unwrap();
        sh(&network, Place::Left, "ip address add 10.99.1.77/24 dev eth0");
        let local = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
        let own = pair(&network, Place::Left, local("10.99.1.77"), |socket| {
            socket.bind(&local("10.99.1.2").into())
        });
        let other = Pair::across(&network, right(0)).unwrap();
        let is_to_this_host = |pair: &Pair| {
            network
                .left(|| {
                    let report = deadpeer::host::Scan::new().run().unwrap();
                    let local = pair.client.local_addr()?;
                    let findings = report.findings();
                    let finding = findings.iter().find(|finding| finding.connection.row.local == local);
                    Ok(finding.unwrap().connection.is_to_this_host())
                })
                .unwrap()
        };
        assert!(is_to_this_host(&own));
        assert!(!is_to_this_host(&other));
    });
}

/// A router that answers ARP for hosts behind it (proxy_arp): the link is there, and what answers is the hop.
#[test]
fn a_proxy_answers_for_the_peer() {
    isolated!(|| {
        let network = Network::new().unwrap();
        sh(&network, Place::Router, "echo 1 > /proc/sys/net/ipv4/conf/to-left/proxy_arp");
        sh(&network, Place::Left, "ip route replace 10.99.2.0/24 dev eth0");
        let gone = Pair::across(&network, right(0)).unwrap();
        sh(
            &network,
            Place::Router,
            "nft 'table ip gone { chain forward { type filter hook forward priority 0; ip daddr 10.99.2.2 drop; }; }'",
        );
        assert_dead(&ask(&network, &["--probe"]), &gone);
    });
}

#[test]
fn a_socket_that_is_bound_to_a_device_is_diagnosed() {
    use std::io::Write;
    use std::time::{Duration, Instant};

    isolated!(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        bound.bind_device(Some(b"lo")).unwrap();
        bound.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (client, (server, _)) = (std::net::TcpStream::from(bound), listener.accept().unwrap());
        let _severed = deadpeer_lab::sever(&client, &server).unwrap();
        (&client).write_all(b"to nobody").unwrap();
        let began = Instant::now();
        // Without its timer, which sock_diag tells, retransmissions can't be told from rest.
        while deadpeer::diagnose(&client).unwrap().judgement.verdict() < deadpeer::Verdict::Suspect {
            assert!(began.elapsed() < Duration::from_secs(10), "{:#?}", deadpeer::diagnose(&client));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}
