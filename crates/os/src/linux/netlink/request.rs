//! Building a request: a header, a fixed part, attributes.

use super::message::align;

/// A netlink message that is being put together; [`Socket::exchange`](super::Socket::exchange) sends it.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    const FLAG_REQUEST: u16 = 0x1;
    /// Asks for an acknowledgement: an `NLMSG_ERROR` with number 0 when all went well.
    pub const ACK: u16 = 0x4;
    /// `NLM_F_ROOT | NLM_F_MATCH`: all entries.
    pub const DUMP: u16 = 0x300;
    /// `NLM_F_REPLACE`.
    pub const REPLACE: u16 = 0x100;
    /// `NLM_F_EXCL`.
    pub const EXCLUSIVE: u16 = 0x200;
    /// `NLM_F_CREATE`.
    pub const CREATE: u16 = 0x400;

    /// A message of type `kind`; `NLM_F_REQUEST` is added to `flags`.
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend(0u32.to_ne_bytes()); // length, known at the end
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | Self::FLAG_REQUEST).to_ne_bytes());
        bytes.extend([0; 8]); // sequence, port: the socket fills in the first, the kernel knows the second
        Self { bytes }
    }

    /// Appends the fixed part that this type of message starts with.
    pub fn fixed(mut self, part: &[u8]) -> Self {
        self.bytes.extend(part);
        self.pad();
        self
    }

    /// Appends one attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let start = self.begin(kind);
        self.bytes.extend(value);
        self.end(start);
        self
    }

    /// Appends an attribute that holds what `inside` appends.
    pub fn nested(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.begin(kind);
        let mut whole = inside(self);
        whole.end(start);
        whole
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend(0u16.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        start
    }

    /// Writes the length of the attribute that began at `start`; the padding behind it does not count.
    fn end(&mut self, start: usize) {
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// The bytes to send, numbered `sequence`.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, Messages};
    use super::*;

    #[test]
    fn what_is_built_reads_back() {
        let bytes = Request::new(16, Request::ACK)
            .fixed(&[1, 2, 3, 4])
            .attribute(3, b"veth0\0")
            .nested(18, |inner| inner.attribute(1, &[7]))
            .finish(42);
        let messages: Vec<_> = Messages::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].kind, messages[0].flags, messages[0].sequence), (16, 5, 42));
        let attributes: Vec<_> = Attributes::new(&messages[0].payload[4..]).map(Result::unwrap).collect();
        assert_eq!(attributes[0], (3, &b"veth0\0"[..]));
        let inner: Vec<_> = Attributes::new(attributes[1].1).map(Result::unwrap).collect();
        assert_eq!((attributes[1].0, inner), (18, vec![(1, &[7u8][..])]));
    }
}
