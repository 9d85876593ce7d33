//! The bytes of questions to neighbours and of their answers: ARP (RFC 826) and neighbour discovery (RFC 4861,
//! section 4), from the network layer on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Answer, Ends, Question, Receiver};

/// Length of an ARP packet for IPv4 over Ethernet.
const ARP: usize = 28;
/// Length of an IPv6 header.
const IPV6: usize = 40;
/// Length of a neighbour solicitation or advertisement without options.
const NEIGHBOUR: usize = 24;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Routers decrement it, so a message that has it comes from the link itself.
const HOP_LIMIT: u8 = 255;

/// The packet to send and the Ethernet address to send it to.
pub(super) fn write(question: &Question) -> (Vec<u8>, [u8; 6]) {
    match question.ends {
        Ends::V4 { sender, target } => (arp_request(question.ethernet, sender, target), [0xff; 6]),
        Ends::V6 { sender, target } => {
            let [.., a, b, c] = target.octets();
            (solicitation(question.ethernet, sender, target), [0x33, 0x33, 0xff, a, b, c])
        }
    }
}

/// What every ARP packet for IPv4 over Ethernet begins with: the two kinds of addresses and their lengths.
const ARP_HEAD: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

fn arp_request(ethernet: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ARP);
    bytes.extend(ARP_HEAD);
    bytes.extend([0, 1]); // a request
    bytes.extend(ethernet);
    bytes.extend(sender.octets());
    bytes.extend([0; 6]); // the Ethernet address that is asked for
    bytes.extend(target.octets());
    bytes
}

fn solicitation(ethernet: [u8; 6], sender: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([1, 1]); // option: the sender's link-layer address, 1 * 8 bytes
    message.extend(ethernet);
    let sum = checksum(sender, group, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);

    let mut bytes = Vec::with_capacity(IPV6 + message.len());
    bytes.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, HOP_LIMIT]);
    bytes.extend(sender.octets());
    bytes.extend(group.octets());
    bytes.extend(message);
    bytes
}

/// RFC 8200, section 8.1.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut all = Vec::with_capacity(IPV6 + message.len());
    all.extend(from.octets());
    all.extend(to.octets());
    all.extend(length.to_be_bytes());
    all.extend([0, 0, 0, ICMPV6]);
    all.extend(message);
    let mut sum: u32 = all
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An ARP reply; `None` for anything else.
pub(super) fn arp_reply(interface: u32, packet: &[u8]) -> Option<Answer> {
    let packet: &[u8; ARP] = packet.first_chunk()?;
    if packet[..6] != ARP_HEAD || packet[6..8] != [0, 2] {
        return None;
    }
    let from: [u8; 4] = *packet[14..].first_chunk()?;
    let receiver: [u8; 6] = *packet[18..].first_chunk()?;
    Some(Answer { interface, from: IpAddr::from(from), to: Receiver::Ethernet(receiver) })
}

/// A neighbour advertisement that answers a solicitation; `None` for anything else.
///
/// The checksum is not looked at: where both ends share a machine, the kernel leaves it to network cards that
/// are not there.
pub(super) fn advertisement(interface: u32, packet: &[u8]) -> Option<Answer> {
    const SOLICITED: u8 = 0x40;
    let (header, message) = packet.split_first_chunk::<IPV6>()?;
    let message: &[u8; NEIGHBOUR] = message.first_chunk()?;
    let is_advertisement = header[0] >> 4 == 6
        && header[6] == ICMPV6
        && header[7] == HOP_LIMIT
        && message[0] == ADVERTISEMENT
        && message[1] == 0
        && message[4] & SOLICITED != 0;
    if !is_advertisement {
        return None;
    }
    let from: [u8; 16] = *message[8..].first_chunk()?;
    let to: [u8; 16] = *header[24..].first_chunk()?;
    Some(Answer { interface, from: IpAddr::from(from), to: Receiver::Ip(to.into()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn v4(sender: [u8; 4], target: [u8; 4]) -> Question {
        let ends = Ends::V4 { sender: sender.into(), target: target.into() };
        Question { interface: 3, ethernet: OURS, ends }
    }

    fn v6(sender: Ipv6Addr, target: Ipv6Addr) -> Question {
        Question { interface: 3, ethernet: OURS, ends: Ends::V6 { sender, target } }
    }

    /// What a neighbour at `theirs` says to `request`.
    fn reply(request: &[u8], theirs: [u8; 6]) -> Vec<u8> {
        let mut reply = request[..6].to_vec();
        reply.extend([0, 2]);
        reply.extend(theirs);
        reply.extend(&request[24..28]);
        reply.extend(&request[8..18]);
        reply
    }

    fn advertise(question: &[u8], target: Ipv6Addr) -> Vec<u8> {
        let mut bytes = question[..8].to_vec();
        bytes.extend(target.octets());
        bytes.extend(&question[8..24]);
        bytes.extend([ADVERTISEMENT, 0, 0, 0, 0x60, 0, 0, 0]);
        bytes.extend(target.octets());
        bytes
    }

    #[test]
    fn a_request_is_what_rfc_826_says() {
        let (bytes, to) = write(&v4([10, 0, 0, 2], [10, 0, 0, 1]));
        assert_eq!(to, [0xff; 6]);
        assert_eq!(
            bytes,
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]
        );
    }

    #[test]
    fn gratuitous_and_foreign_replies_are_no_answers() {
        let question = v4([10, 0, 0, 2], [10, 0, 0, 1]);
        let (request, _) = write(&question);
        let answer = reply(&request, [2, 0, 0, 0, 0, 9]);
        assert!(question.is_answered_by(&arp_reply(3, &answer).unwrap()));
        assert!(!question.is_answered_by(&arp_reply(4, &answer).unwrap()), "on another interface");
        assert!(arp_reply(3, &request).is_none(), "a request");
        let mut gratuitous = answer.clone();
        gratuitous[18..24].copy_from_slice(&[0xff; 6]);
        assert!(!question.is_answered_by(&arp_reply(3, &gratuitous).unwrap()), "to everybody");
        let mut other = answer;
        other[17] = 7;
        assert!(!question.is_answered_by(&arp_reply(3, &other).unwrap()), "from another");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = arp_reply(1, &bytes);
            let _ = advertisement(1, &bytes);
        }

        #[test]
        fn an_answer_answers_its_question_and_no_other(
            sender: [u8; 4], target: [u8; 4], other: [u8; 4], theirs: [u8; 6],
        ) {
            let question = v4(sender, target);
            let answer = arp_reply(3, &reply(&write(&question).0, theirs)).unwrap();
            prop_assert!(question.is_answered_by(&answer));
            prop_assert_eq!(v4(sender, other).is_answered_by(&answer), other == target);
        }

        #[test]
        fn a_solicitation_adds_up_and_its_advertisement_answers_it(
            sender: [u8; 16], target: [u8; 16], cut in 0usize..64,
        ) {
            let (sender, target) = (Ipv6Addr::from(sender), Ipv6Addr::from(target));
            let question = v6(sender, target);
            let (bytes, to) = write(&question);
            prop_assert_eq!(&to[3..], &target.octets()[13..]);
            let group = Ipv6Addr::from(*bytes[24..].first_chunk::<16>().unwrap());
            // With its checksum in place a message adds up to all ones, whose complement is 0.
            prop_assert_eq!(checksum(sender, group, &bytes[IPV6..]), 0);
            let answer = advertise(&bytes, target);
            prop_assert!(question.is_answered_by(&advertisement(3, &answer).unwrap()));
            prop_assert!(advertisement(3, &answer[..cut]).is_none());
            let mut routed = answer;
            routed[7] = 254;
            prop_assert!(advertisement(3, &routed).is_none());
        }
    }
}
