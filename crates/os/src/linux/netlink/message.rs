//! Views over received bytes: messages in a datagram, attributes in a message.
//!
//! Nothing here trusts a length: each is checked against what is really there, and the iterators end
//! after the first error.

use std::fmt;

/// Bytes that are not what the kernel's headers promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where, counted from the start of the bytes that were being read.
    pub offset: usize,
    /// What was expected there.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed netlink message: {} at byte {}", self.what, self.offset)
    }
}

impl std::error::Error for Malformed {}

/// Messages and attributes start at multiples of four bytes (`NLMSG_ALIGN`, `NLA_ALIGN`).
pub(super) const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// One message: the fields of `struct nlmsghdr`, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: the number of the request that this answers.
    pub sequence: u32,
    /// What follows the header, without padding.
    pub payload: &'a [u8],
}

impl Message<'_> {
    pub(super) const HEADER: usize = 16;
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    pub(super) const FLAG_DUMP_INTERRUPTED: u16 = 0x10;

    /// The error number in an `NLMSG_ERROR` or `NLMSG_DONE` message; 0 is success.
    pub(super) fn errno(&self) -> Result<i32, Malformed> {
        let value = i32::from_ne_bytes(bytes_at(self.payload, 0, "an error number")?);
        Ok(value.saturating_neg())
    }
}

/// The messages of one datagram, in order.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Messages<'a> {
    /// Reads `datagram`, as it came from the kernel.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { bytes: datagram, at: 0 }
    }

    fn parse(&self) -> Result<Message<'a>, Malformed> {
        let at = self.at;
        let header = self
            .bytes
            .get(at..at.saturating_add(Message::HEADER))
            .ok_or(Malformed { offset: at, what: "a message header" })?;
        let length = u32::from_ne_bytes(bytes_at(header, 0, "a length")?) as usize;
        if length < Message::HEADER {
            return Err(Malformed { offset: at, what: "a message length of at least 16" });
        }
        let whole = self
            .bytes
            .get(at..at.saturating_add(length))
            .ok_or(Malformed { offset: at, what: "as many bytes as the message's length says" })?;
        Ok(Message {
            kind: u16::from_ne_bytes(bytes_at(header, 4, "a type")?),
            flags: u16::from_ne_bytes(bytes_at(header, 6, "flags")?),
            sequence: u32::from_ne_bytes(bytes_at(header, 8, "a sequence number")?),
            payload: &whole[Message::HEADER..],
        })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let message = self.parse();
        self.at = match &message {
            Ok(message) => self.at + align(Message::HEADER + message.payload.len()),
            Err(_) => self.bytes.len(),
        };
        Some(message)
    }
}

/// The attributes (type, value) that follow a message's fixed part.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Attributes<'a> {
    const HEADER: usize = 4;
    /// The top two bits of a type mark nesting and byte order (`NLA_TYPE_MASK`).
    const KIND_MASK: u16 = 0x3fff;

    /// Reads the attributes in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn parse(&self) -> Result<(u16, &'a [u8]), Malformed> {
        let at = self.at;
        let length = u16::from_ne_bytes(bytes_at(self.bytes, at, "an attribute's length")?) as usize;
        let kind = u16::from_ne_bytes(bytes_at(self.bytes, at + 2, "an attribute's type")?);
        if length < Self::HEADER {
            return Err(Malformed { offset: at, what: "an attribute length of at least 4" });
        }
        let value = self
            .bytes
            .get(at + Self::HEADER..at + length)
            .ok_or(Malformed { offset: at, what: "as many bytes as the attribute's length says" })?;
        Ok((kind & Self::KIND_MASK, value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let attribute = self.parse();
        self.at = match &attribute {
            Ok((_, value)) => self.at + align(Self::HEADER + value.len()),
            Err(_) => self.bytes.len(),
        };
        Some(attribute)
    }
}

/// `N` bytes from `at` on, or an error that says what was expected there.
pub(crate) fn bytes_at<const N: usize>(
    bytes: &[u8],
    at: usize,
    what: &'static str,
) -> Result<[u8; N], Malformed> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(Malformed { offset: at, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(length.to_ne_bytes());
        bytes.extend(20u16.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn two_messages_with_padding_between() {
        let mut bytes = message(17, &[9, 0, 0, 0]);
        bytes.extend(message(16, &[]));
        let all: Vec<_> = Messages::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].sequence, all[0].payload), (20, 7, &[9u8][..]));
        assert!(all[1].payload.is_empty());
    }

    #[test]
    fn a_length_beyond_the_datagram_is_an_error_and_ends_the_iteration() {
        let bytes = message(400, &[0; 8]);
        let mut messages = Messages::new(&bytes);
        assert!(messages.next().unwrap().is_err());
        assert!(messages.next().is_none());
    }

    #[test]
    fn a_length_of_zero_does_not_loop() {
        let bytes = message(0, &[0; 64]);
        assert_eq!(Messages::new(&bytes).count(), 1);
        assert_eq!(Attributes::new(&[0, 0, 1, 0, 0, 0, 0, 0]).count(), 1);
    }

    #[test]
    fn attribute_types_lose_their_flag_bits() {
        let bytes = [5, 0, 3, 0x80, 42, 0, 0, 0, 4, 0, 1, 0];
        let all: Vec<_> = Attributes::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(all, [(3, &[42u8][..]), (1, &[][..])]);
    }
}
