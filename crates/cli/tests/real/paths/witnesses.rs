//! Other peers tell something of our way only if they were heard since we asked.

use std::io::{Read, Write};

use deadpeer_lab::{Direction, Network, Pair, isolated};

use super::{ask_without, assert_doubtful, deafen, right};

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
