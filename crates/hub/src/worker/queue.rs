//! Bytes that wait to be written.

use std::sync::Arc;

use deadpeer_core::session::{DATA_HEAD, Head};

use crate::shared::Account;

/// A queue of bytes. When it is empty, it holds no memory; what it holds is counted in the account.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    /// This much of it is written already.
    written: usize,
    account: Option<Arc<Account>>,
}

impl Queue {
    pub(super) fn push(&mut self, bytes: &[u8], account: &Arc<Account>) {
        if bytes.is_empty() {
            return;
        }
        self.account.get_or_insert_with(|| Arc::clone(account)).add(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Of a queue of frames: puts `frames` before the first frame of which nothing is written yet.
    pub(super) fn push_first(&mut self, frames: &[u8], account: &Arc<Account>) {
        let at = self.boundary();
        self.account.get_or_insert_with(|| Arc::clone(account)).add(frames.len());
        self.bytes.splice(at..at, frames.iter().copied());
    }

    /// Of a queue of frames: drops those of which nothing is written yet.
    pub(super) fn forget(&mut self) {
        let keep = self.boundary();
        if let Some(account) = &self.account {
            account.subtract(self.bytes.len() - keep);
        }
        self.bytes.truncate(keep);
    }

    /// Where the first frame begins of which nothing is written. The queue holds whole frames from its start.
    fn boundary(&self) -> usize {
        let mut at = 0;
        while at < self.written {
            at += match Head::decode(&self.bytes[at..]) {
                Ok(Some((Head::Data { length, .. } | Head::Skip { length }, _))) => {
                    DATA_HEAD + usize::from(length)
                }
                Ok(Some((Head::Frame(_), length))) => length,
                // These are our own frames; where they are not, nothing is put between them.
                Ok(None) | Err(_) => return self.bytes.len(),
            };
        }
        at.min(self.bytes.len())
    }

    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// So many of the bytes that wait were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Some(account) = &self.account {
            account.subtract(bytes);
        }
        self.written += bytes;
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.subtract(self.waiting().len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deadpeer_core::session::data_head;

    #[test]
    fn what_is_held_is_counted_until_it_is_written_or_dropped() {
        let account = Arc::new(Account::default());
        let mut queue = Queue::default();
        queue.push(b"hello, ", &account);
        queue.push(b"Bob", &account);
        queue.wrote(2);
        assert_eq!((queue.waiting(), account.held()), (&b"llo, Bob"[..], 8));
        queue.push(b"!", &account);
        queue.wrote(9);
        assert!(queue.is_empty() && account.held() == 0 && queue.bytes.capacity() == 0);
        queue.push(b"again", &account);
        drop(queue);
        assert_eq!(account.held(), 0);
    }

    #[test]
    fn control_frames_go_between_data_frames() {
        let account = Arc::new(Account::default());
        let frame = |byte: u8| [&data_head(3, false)[..], &[byte; 3]].concat();
        let mut queue = Queue::default();
        for byte in [1, 2] {
            queue.push(&frame(byte), &account);
        }
        queue.push_first(&[2], &account);
        queue.wrote(1);
        queue.push_first(&[2, 2], &account);
        assert_eq!(queue.waiting(), [&[2, 2][..], &frame(1), &frame(2)].concat());
        queue.wrote(3);
        queue.push_first(&[2], &account);
        queue.forget();
        queue.push(&[10, 6], &account);
        assert_eq!((queue.waiting(), account.held()), (&[&frame(1)[1..], &[10, 6]].concat()[..], 8));
    }
}
