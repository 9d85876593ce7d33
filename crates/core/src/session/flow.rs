//! Credit: how much DATA each side may still send.

use super::wire::{DATA_HEAD, Hello, MOST_DATA, Malformed};

/// The credit of both directions of a session that carries data.
///
/// ```
/// use deadpeer_core::session::Flow;
///
/// let mut flow = Flow::new(1_000, 500);
/// flow.opened(300);
/// assert_eq!(flow.may_send(), 296); // a frame of 296 bytes costs 300
/// flow.sent(100);
/// assert_eq!(flow.may_send(), 192);
///
/// flow.arrived(600)?; // a frame with 600 bytes
/// flow.taken(604); // the program took them
/// assert_eq!(flow.grant(), Some(604)); // so the peer may send as much again
/// # Ok::<(), deadpeer_core::session::Malformed>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What this side may still send.
    credit: u32,
    /// What the peer may still send.
    left: u32,
    /// What the peer may have under way and untaken, at most.
    window: u32,
    /// What was taken and not yet given back to the peer.
    owed: u32,
    /// Credit is given back once this much is owed.
    batch: u32,
}

impl Flow {
    /// For a side whose HELLO says `window`. Credit is given back in batches of half of the window or half of
    /// `reserve`, whichever is less: `reserve` is the part of the window that no unfinished message can occupy.
    pub const fn new(window: u32, reserve: u32) -> Self {
        let batch = if window < reserve { window / 2 } else { reserve / 2 };
        Self { credit: 0, left: window, window, owed: 0, batch: if batch == 0 { 1 } else { batch } }
    }

    /// The peer's HELLO says that this side begins with `window`.
    pub const fn opened(&mut self, window: u32) {
        self.credit = window;
    }

    /// The longest content that a DATA frame of this side may have now, bytes; 0 for none.
    pub const fn may_send(&self) -> u32 {
        let most = self.credit.saturating_sub(DATA_HEAD as u32);
        if most < MOST_DATA as u32 { most } else { MOST_DATA as u32 }
    }

    /// Whether an empty DATA frame may be sent.
    pub const fn may_send_empty(&self) -> bool {
        self.credit >= DATA_HEAD as u32
    }

    /// What this side may send in all, heads included, bytes.
    pub const fn credit(&self) -> u32 {
        self.credit
    }

    /// This side sent a DATA frame with `content` bytes.
    pub const fn sent(&mut self, content: u32) {
        self.credit = self.credit.saturating_sub(content + DATA_HEAD as u32);
    }

    /// The peer's WINDOW came.
    ///
    /// # Errors
    /// [`Malformed::Value`] if the credit exceeds 2 GiB.
    pub const fn credited(&mut self, credit: u32) -> Result<(), Malformed> {
        match self.credit.checked_add(credit) {
            Some(sum) if sum <= Hello::MOST_CREDIT => {
                self.credit = sum;
                Ok(())
            }
            _ => Err(Malformed::Value { what: "credit of more than 2 GiB" }),
        }
    }

    /// The head of a DATA frame with `content` bytes arrived.
    ///
    /// # Errors
    /// [`Malformed::NoCredit`] if the peer's credit does not cover it.
    pub const fn arrived(&mut self, content: u32) -> Result<(), Malformed> {
        match self.left.checked_sub(content + DATA_HEAD as u32) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Malformed::NoCredit),
        }
    }

    /// The program, or the plain connection, took `cost` bytes of frames: content, and the heads of frames that are done.
    /// [`Live::input`](super::Live::input) does this itself for the heads of frames with MORE, which are not stored.
    pub const fn taken(&mut self, cost: u32) {
        self.owed = self.owed.saturating_add(cost);
    }

    /// Lets the peer have `more` bytes under way than before.
    pub const fn widen(&mut self, more: u32) {
        let most = Hello::MOST_CREDIT - self.window;
        let more = if more < most { more } else { most };
        self.window += more;
        self.owed = self.owed.saturating_add(more);
        if self.window / 4 > self.batch {
            self.batch = self.window / 4;
        }
    }

    /// Credit for the peer, if it is time to give some: for a WINDOW frame.
    pub const fn grant(&mut self) -> Option<u32> {
        if self.owed < self.batch {
            return None;
        }
        let granted = self.owed;
        self.left += granted;
        self.owed = 0;
        Some(granted)
    }

    /// What the peer may have under way and untaken, at most, bytes.
    pub const fn window(&self) -> u32 {
        self.window
    }

    /// What arrived and was not taken yet, bytes.
    pub const fn untaken(&self) -> u32 {
        self.window - self.left - self.owed
    }
}
