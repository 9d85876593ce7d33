//! The parsers against bytes, and the whole against this kernel.

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn beside_means_in_the_same_network() {
    let address =
        |text, prefix_length| Address { interface: 1, ip: ip(text), prefix_length, is_usable: true };
    assert!(address("10.0.0.9", 24).is_beside(ip("10.0.0.1")));
    assert!(!address("10.0.0.9", 24).is_beside(ip("10.0.1.1")));
    assert!(!address("10.0.0.9", 32).is_beside(ip("10.0.0.8")));
    assert!(address("10.0.0.9", 0).is_beside(ip("192.0.2.1")));
    assert!(address("fe80::1", 64).is_beside(ip("fe80::2")));
    assert!(!address("10.0.0.9", 0).is_beside(ip("::1")));
}

#[test]
fn what_no_rule_looks_at_is_left_out_of_a_flow() {
    let (local, peer) = ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:2000".parse().unwrap());
    let flow = Flow { local, peer, interface: 3, mark: 7, uid: 1000, tos: 8 };
    assert_eq!(flow.reduced_to(Selectors::ALL), flow);
    let reduced = flow.reduced_to(Selectors::default());
    assert_eq!((reduced.mark, reduced.uid, reduced.local.port(), reduced.peer.port()), (0, 0, 0, 0));
    assert_eq!((reduced.interface, reduced.tos, reduced.peer.ip()), (3, 8, peer.ip()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_link(&bytes);
        let _ = parse_address(&bytes);
        let _ = parse_rule(&bytes);
        let _ = parse_route(&Message { kind: 0, flags: 0, sequence: 0, payload: &bytes });
    }
}

#[test]
fn the_kernel_knows_loopback() {
    deadpeer_lab::isolated!(|| {
        let mut routes = Routes::open().unwrap();
        let lo = routes.link(1).unwrap().expect("lo is the first interface");
        assert!(lo.is_up && !lo.has_neighbours);
        assert_eq!(routes.link(4711).unwrap(), None);
        assert!(routes.addresses().unwrap().iter().any(|address| address.ip == ip("127.0.0.1")));
        // The whole network of loopback is ours, though only one address is configured.
        assert!(routes.is_local(ip("127.8.8.8"), 0).unwrap());
        assert!(!routes.is_local(ip("192.0.2.1"), 0).unwrap());
        assert_eq!(routes.selectors().unwrap(), Selectors::default());
        let to = |peer: &str| Flow {
            local: "127.0.0.1:1".parse().unwrap(),
            peer: peer.parse().unwrap(),
            interface: 0,
            mark: 0,
            uid: 0,
            tos: 0xff,
        };
        assert_eq!(routes.next_hop(&to("127.0.0.2:80")).unwrap(), NextHop::Local);
        assert_eq!(routes.next_hop(&to("192.0.2.1:80")).unwrap(), NextHop::None);
        let gone = Flow { interface: 4711, ..to("192.0.2.1:80") };
        assert_eq!(routes.next_hop(&gone).unwrap(), NextHop::None);
    });
}
