//! Other peers tell something of our way only if they were heard since we asked.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_lab::{Direction, Network, Pair, Place, isolated};

use super::{ask, ask_without, assert_dead, assert_doubtful, deafen, of, right, sh};
use crate::common::verdict;

/// Lets both ends of a connection hear each other now.
fn speak(pair: &mut Pair) {
    let mut answer = [0; 5];
    pair.server.write_all(b"hello").unwrap();
    pair.client.read_exact(&mut answer).unwrap();
    pair.client.write_all(b"hello").unwrap();
    pair.server.read_exact(&mut answer).unwrap();
}

#[test]
fn a_network_that_is_cut_before_the_questions_has_no_witness() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let asked = Pair::across(&network, right(0)).unwrap();
        let mut witness = Pair::across(&network, right(1)).unwrap();
        let port = format!("port:{}", asked.client.local_addr().unwrap().port());
        // The gateway can't be asked, so that the witness decides.
        speak(&mut witness);
        let _cut = network.cut(Direction::Both).unwrap();
        let rows = ask_without(&network, "net_raw", &["--probe", &port]);
        assert_doubtful(&rows, &asked, "no other peer behind it was heard since");
    });
}

/// A witness that was heard after the first questions says nothing of the last ones.
#[test]
fn a_network_that_is_cut_amid_the_questions_has_no_witness() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let asked = Pair::across(&network, right(0)).unwrap();
        let mut witness = Pair::across(&network, right(1)).unwrap();
        let _gone = network.cut_off(right(0)).unwrap();
        let rows = thread::scope(|scope| {
            let asking = scope.spawn(|| ask_without(&network, "net_raw", &["--probe"]));
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(2) {
                speak(&mut witness);
                thread::sleep(Duration::from_millis(10));
            }
            let _cut = network.cut(Direction::Both).unwrap();
            asking.join().unwrap()
        });
        assert_doubtful(&rows, &asked, "no other peer behind it was heard since");
    });
}

/// The gateway answers, and may forward nothing.
#[test]
fn two_silent_peers_need_a_third_that_lives() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let gone = [0, 1].map(|n| Pair::across(&network, right(n)).unwrap());
        let _cuts = [0, 1].map(|n| network.cut_off(right(n)).unwrap());
        let rows = ask(&network, &["--probe"]);
        gone.iter().for_each(|pair| assert_eq!(verdict(of(&rows, pair)), "suspect local-path"));
        let _witness = Pair::across(&network, right(2)).unwrap();
        let rows = ask(&network, &["--probe"]);
        gone.iter().for_each(|pair| assert_dead(&rows, pair));
    });
}

/// The outage ends while the gateway is asked: it answers the next time, and the peer speaks again.
#[test]
fn a_peer_that_is_heard_again_before_the_end_is_not_dead() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let mut pair = Pair::across(&network, right(0)).unwrap();
        sh(
            &network,
            Place::Router,
            "nft 'table netdev deaf { chain everything { type filter hook ingress device to-left priority 0;
             arp operation request counter drop; drop; }; }'",
        );
        // For 15 s at least the kernel does not ask for the gateway itself.
        sh(
            &network,
            Place::Left,
            "mac=$(ip neighbour show 10.99.1.1 dev eth0 | sed 's/.*lladdr \\([^ ]*\\).*/\\1/')
             ip neighbour replace 10.99.1.1 dev eth0 lladdr $mac nud reachable",
        );
        let rows = thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&network, &["--probe"]));
            sh(
                &network,
                Place::Router,
                "until nft list table netdev deaf | grep -q 'counter packets [1-9]'; do sleep 0.05; done
                 nft delete table netdev deaf",
            );
            pair.server.write_all(b"back").unwrap();
            asking.join().unwrap()
        });
        let row = of(&rows, &pair);
        assert_ne!(row["verdict"], "dead", "{row:#}");
        assert!(row["idle_ms"].as_f64().unwrap() < 3_000.0, "{row:#}");
    });
}

#[test]
fn a_gateway_that_dies_after_the_list_was_taken_is_found_out() {
    use deadpeer::Verdict;
    use deadpeer::host::{Census, CensusError, Filter, Namespace, Pace, Scan, SockDiag, Taken, Want};
    use std::sync::{Arc, Mutex};

    struct Then<F>(Mutex<Option<F>>);

    impl<F: FnOnce() + Send> Census for Then<F> {
        fn take(&self, namespace: &Arc<Namespace>, want: Want) -> Result<Taken, CensusError> {
            let taken = SockDiag.take(namespace, want)?;
            if let Some(happens) = self.0.lock().unwrap().take() {
                happens();
            }
            Ok(taken)
        }
    }

    isolated!(|| {
        let network = Network::new().unwrap();
        let asked = Pair::across(&network, right(0)).unwrap();
        let mut witness = Pair::across(&network, right(1)).unwrap();
        speak(&mut witness);
        let port = format!("port:{}", asked.client.local_addr().unwrap().port());
        let verdicts: Vec<_> = network
            .left(|| {
                let scan = Scan::new().census(Then(Mutex::new(Some(|| deafen(&network, "to-left")))));
                let report = scan.filter(Filter::parse([port]).unwrap()).probe(Pace::default()).run();
                Ok(report.unwrap().findings().iter().map(|finding| finding.verdict).collect())
            })
            .unwrap();
        assert_eq!(verdicts, [Verdict::Suspect]);
    });
}
