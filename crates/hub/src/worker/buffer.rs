//! Bytes that wait to be written.

use std::sync::Arc;

use crate::shared::Account;

/// A queue of bytes. Empty, it holds no memory; what it holds is counted.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// So many of them are written already.
    start: usize,
    account: Option<Arc<Account>>,
}

impl Buffer {
    pub(super) fn push(&mut self, bytes: &[u8], account: &Arc<Account>) {
        if bytes.is_empty() {
            return;
        }
        self.account.get_or_insert_with(|| Arc::clone(account)).add(bytes.len());
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// So many of those that wait were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Some(account) = &self.account {
            account.subtract(bytes);
        }
        self.start += bytes;
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.subtract(self.waiting().len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_written_or_dropped() {
        let account = Arc::new(Account::default());
        let mut buffer = Buffer::default();
        buffer.push(b"hello, ", &account);
        buffer.push(b"Bob", &account);
        buffer.wrote(2);
        assert_eq!((buffer.waiting(), account.held()), (&b"llo, Bob"[..], 8));
        buffer.push(b"!", &account);
        assert_eq!((buffer.waiting(), account.held()), (&b"llo, Bob!"[..], 9));
        buffer.wrote(9);
        assert!(buffer.is_empty() && account.held() == 0 && buffer.bytes.capacity() == 0);
        buffer.push(b"again", &account);
        drop(buffer);
        assert_eq!(account.held(), 0);
    }
}
