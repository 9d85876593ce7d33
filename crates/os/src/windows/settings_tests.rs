use std::net::{TcpListener, TcpStream};
use std::os::windows::io::AsSocket;

use super::*;
use crate::windows::is_wine;

const SECOND: Duration = Duration::from_secs(1);

fn keepalive(probes: u8) -> Settings {
    let keepalive = Keepalive::new(5 * SECOND, 2 * SECOND, probes).unwrap();
    Settings { keepalive: Set::To(keepalive), ..Settings::default() }
}

#[test]
fn what_a_socket_took_is_told_and_what_it_did_not_is_a_gap() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let applied = apply(socket.as_socket(), &keepalive(FIXED_PROBES)).unwrap();
    assert_eq!(applied.now.active_keepalive(), Keepalive::new(5 * SECOND, 2 * SECOND, 10).ok());
    assert!(applied.gaps.is_empty(), "{:?}", applied.gaps);

    let applied = apply(socket.as_socket(), &keepalive(4)).unwrap();
    let probes = applied.now.active_keepalive().unwrap().probes();
    // Either it took four, or ten and says so.
    let gaps: Vec<_> = applied.gaps.iter().map(|gap| (gap.option, gap.wanted, gap.got)).collect();
    match probes {
        4 => assert_eq!(gaps, []),
        _ => assert_eq!(gaps, [("TCP_KEEPCNT", Amount::Count(4), Some(Amount::Count(10)))]),
    }
}

#[test]
fn an_unknown_bound_is_a_gap_with_its_error() {
    if is_wine() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = Settings { user_timeout: Set::To(9 * SECOND), ..keepalive(FIXED_PROBES) };
        let applied = apply(socket.as_socket(), &settings).unwrap();
        let [gap] = &applied.gaps[..] else { panic!("{:?}", applied.gaps) };
        assert_eq!((gap.option, gap.got), ("TCP_MAXRT", None));
        assert!(gap.error.as_ref().is_some_and(is_not_known), "{gap}");
        assert_eq!(applied.now.user_timeout, Known::Not(Why::NotOnThisKernel));
    }
}

#[test]
fn off_is_off() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let _ = apply(socket.as_socket(), &keepalive(FIXED_PROBES)).unwrap();
    let off = Settings { keepalive: Set::Off, user_timeout: Set::Off, rto_max: Set::Off };
    let applied = apply(socket.as_socket(), &off).unwrap();
    assert!(matches!(applied.now.keepalive, Known::Is(KeepaliveSeen { enabled: false, .. })));
    assert!(applied.gaps.is_empty(), "{:?}", applied.gaps);
}

#[test]
fn windows_has_no_ceiling_of_pauses_and_says_so() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings { rto_max: Set::To(SECOND), ..Settings::default() };
    let applied = apply(socket.as_socket(), &settings).unwrap();
    assert_eq!(applied.gaps[0].option, "TCP_RTO_MAX_MS");
}

#[test]
fn a_connection_is_looked_at() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let seen = crate::windows::stream::look(client.as_socket()).unwrap();
    assert_eq!(seen.facts.state, deadpeer_core::TcpState::Established);
}

/// `.ci/systems test` leaves these out on wine 8, which has none of these options, and prints their names.
mod not_on_wine_8 {
    use super::*;

    #[test]
    fn tcp_keepidle_keepintvl_and_keepcnt_are_read_back() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = keepalive(4);
        let applied = apply(socket.as_socket(), &settings).unwrap();
        assert!(applied.gaps.is_empty() && has(&read(socket.as_socket()).unwrap(), &settings));
    }
}

/// `.ci/systems test` leaves these out on every wine that there is, and prints their names.
mod not_on_wine {
    use super::*;

    #[test]
    fn tcp_maxrt_is_read_back_and_turned_off() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let on = Settings { user_timeout: Set::To(9 * SECOND), ..Settings::default() };
        let applied = apply(socket.as_socket(), &on).unwrap();
        assert_eq!(applied.now.user_timeout, Known::Is(Some(9 * SECOND)));
        let off = Settings { user_timeout: Set::Off, ..Settings::default() };
        let applied = apply(socket.as_socket(), &off).unwrap();
        // Off, or a gap that says that it is not.
        assert_eq!(applied.gaps.is_empty(), applied.now.user_timeout == Known::Is(None));
    }

    #[test]
    fn sio_tcp_info_tells_what_is_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let seen = crate::windows::stream::look(client.as_socket()).unwrap();
        assert_eq!(seen.unacknowledged, Some(0));
    }
}
