//! The examples of `docs/protocol.md`, and frames of any content.

use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use core::time::Duration;

/// The examples of the page: a name and the bytes.
fn examples() -> Vec<(String, Vec<u8>)> {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md")).unwrap();
    let section = page.split("## One example of each").nth(1).unwrap().split("\n## ").next().unwrap();
    let example = |line: &str| {
        let line = line.strip_prefix("    ")?;
        let (name, rest) = line.split_once(' ').filter(|(name, _)| !name.is_empty())?;
        let is_hex = |word: &&str| {
            word.len().is_multiple_of(2) && word.bytes().all(|b| b"0123456789abcdef".contains(&b))
        };
        let hex: String = rest.split_whitespace().take_while(is_hex).collect();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        Some((name.into(), bytes.collect()))
    };
    section.lines().filter_map(example).collect()
}

#[test]
fn the_page_and_the_code_agree() {
    let ms = Duration::from_millis;
    let hello = Frame::Hello(Hello::new(Offer::new(ms(100), ms(5_000), ms(15_000))));
    let offer = Offer::new(ms(100), ms(3_000), ms(10_000));
    let full = Hello { id: "pi", max_message: 131_072, window: 65_536, ..Hello::new(offer) };
    let bye = Bye::new(Reason::Restarting).back_in(ms(30_000)).text("bye");
    let mut pieces = [&data_head(1, true)[..], b"h"].concat();
    pieces.extend([&data_head(1, false)[..], b"i"].concat());
    let encoded = |frame: Frame<'_>| {
        let mut out = Vec::new();
        frame.encode(&mut out);
        assert_eq!(Head::decode(&out), Ok(Some((Head::Frame(frame), out.len()))));
        out
    };
    let expected = [
        ("HELLO", encoded(hello)),
        ("HELLO", encoded(Frame::Hello(full))),
        ("BEAT", encoded(Frame::Beat)),
        ("PING", encoded(Frame::Ping { token: 0x0102_0304 })),
        ("PONG", encoded(Frame::Pong { token: 0x0102_0304 })),
        ("DATA", [&data_head(2, false)[..], b"hi"].concat()),
        ("DATA", pieces),
        ("END", encoded(Frame::End)),
        ("BYE", encoded(Frame::Bye(bye))),
        ("WINDOW", encoded(Frame::Window { credit: 32_768 })),
        ("DRAIN", encoded(Frame::Drain { back_in: ms(5_000) })),
        ("RESET", encoded(Frame::Reset(Reason::Lost))),
        ("unknown", [0x80, 0, 2, 0, 0].to_vec()),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(name, bytes)| (String::from(name), bytes)).collect();
    assert_eq!(examples(), expected);
    assert_eq!(Head::decode(&[0x80, 0, 2, 0, 0]), Ok(Some((Head::Skip { length: 2 }, 3))));
}

#[test]
fn what_no_side_may_send() {
    let hello = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        let second = Duration::from_secs(1);
        Frame::Hello(Hello { id: "pi", ..Hello::new(Offer::new(second, second, second)) }).encode(&mut out);
        change(&mut out);
        Head::decode(&out).map(drop)
    };
    type Change<'c> = &'c dyn Fn(&mut Vec<u8>);
    let cases: [(Change<'_>, Malformed); 9] = [
        (&|out| out[1] = b'X', Malformed::NotHello),
        (&|out| out[3] = 1, Malformed::Version(1)),
        (
            &|out| out[4..6].copy_from_slice(&[0, 11]),
            Malformed::Hello { what: "a length outside 12 to 1,036" },
        ),
        (&|out| out[6..10].fill(0), Malformed::Hello { what: "a time outside 10 ms to 24 h" }),
        (&|out| out[14..18].fill(255), Malformed::Hello { what: "a time outside 10 ms to 24 h" }),
        (&|out| out[18] = 0x7f, Malformed::UnknownOption(0x7f)),
        (&|out| out[20] = 3, Malformed::Hello { what: "an option that is not whole" }),
        (&|out| out[21] = 7, Malformed::Hello { what: "an id that is not at most 64 bytes of plain UTF-8" }),
        (
            &|out| {
                out[5] += 5;
                out.extend([1, 0, 2, b'p', b'i']);
            },
            Malformed::Hello { what: "an option twice" },
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(hello(change), Err(expected));
    }
    assert_eq!(hello(&|_| ()), Ok(()));
    assert_eq!(hello(&|out| out[18] = 0x80), Ok(()), "an option that may be ignored");
    for (bytes, expected) in [
        (&[0_u8][..], Malformed::UnknownFrame(0)),
        (&[0x7f], Malformed::UnknownFrame(0x7f)),
        (&[5, 2], Malformed::Value { what: "DATA with an unknown flag" }),
        (&[5, 0, 0x40, 1], Malformed::Value { what: "a DATA frame of more than 16,384 bytes" }),
        (&[7, 0, 0, 0, 0, 0, 65], Malformed::Value { what: "a BYE with a text of more than 64 bytes" }),
        (&[7, 0, 0, 0, 0, 0, 1, 0xff], Malformed::Value { what: "a BYE with a text that is not UTF-8" }),
        (&[8, 0, 0, 0, 0], Malformed::Value { what: "a WINDOW without credit" }),
    ] {
        assert_eq!(Head::decode(bytes), Err(expected), "{bytes:?}");
    }
}

proptest! {
    /// Any bytes: no panic; what is whole has no more bytes than there are; a prefix never says something else.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..1200), kind in 0_u8..12, magic: bool) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() { *first = kind; }
        if magic && bytes.len() > 5 {
            bytes[..4].copy_from_slice(b"\x01DP\x02");
            bytes[4] &= 3;
        }
        let whole = Head::decode(&bytes);
        if let Ok(Some((_, length))) = whole {
            prop_assert!(length <= bytes.len());
        }
        for end in 0..bytes.len().min(40) {
            match Head::decode(&bytes[..end]) {
                Ok(None) => {}
                other => prop_assert_eq!(other, whole),
            }
        }
    }

    #[test]
    fn a_hello_comes_back_as_it_was(
        id in "[a-zåß日 ]{0,21}", token in prop::collection::vec(any::<u8>(), 0..=512),
        times in [10_u32..86_400_000, 10..86_400_000, 10..86_400_000],
        max_message: u32, window in 0..Hello::MOST_CREDIT,
    ) {
        let [send, hear, patience] = times.map(|ms| Duration::from_millis(ms.into()));
        let hello = Hello { offer: Offer::new(send, hear, patience), id: &id, max_message, window, token: &token };
        let mut out = Vec::new();
        Frame::Hello(hello).encode(&mut out);
        prop_assert_eq!(Head::decode(&out), Ok(Some((Head::Frame(Frame::Hello(hello)), out.len()))));
    }
}
