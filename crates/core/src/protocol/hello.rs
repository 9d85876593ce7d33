//! The first frame, and what two of them agree on.

use alloc::vec::Vec;
use core::time::Duration;

use super::frame::{HELLO, Malformed, VERSION};
use crate::heartbeat::{Timing, TimingError};
use crate::policy::Policy;

/// What one side offers: how often it beats, how often it wants to hear, and how many of its beats may be
/// missed. Intervals are told in milliseconds.
///
/// As in BFD (RFC 5880, 6.8.4) the slower of two wishes wins in each direction, and the detection time of one
/// side is the *other's* multiplier times that interval. So a server with many clients can say that it beats
/// once a minute, and a phone that it wants to be woken no more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// It wants to send no more often than this.
    pub send: Duration,
    /// It wants to hear no more often than this.
    pub hear: Duration,
    /// So many of its intervals may pass in silence before it is lost; 1 at least.
    pub multiplier: u8,
    /// The other's death is to be noticed within this: an agreement that takes longer is refused. Not sent.
    pub at_most: Duration,
    /// An outage this long must not look like a death: where the other's multiplier would be too impatient for
    /// that, this side waits longer. Zero: the multiplier alone decides. Not sent.
    pub outage: Duration,
    /// It sends at least this often, whatever the other wants: a middlebox on its way forgets idle connections.
    /// [`Duration::MAX`] for none. Not sent.
    pub idle_at_most: Duration,
}

impl Offer {
    /// These three, and no wish beyond them.
    pub const fn new(send: Duration, hear: Duration, multiplier: u8) -> Self {
        let (at_most, outage, idle_at_most) = (Timing::LONGEST, Duration::ZERO, Duration::MAX);
        Self { send, hear, multiplier, at_most, outage, idle_at_most }
    }

    /// The same, noticing the other's death within `at_most`.
    pub const fn at_most(self, at_most: Duration) -> Self {
        Self { at_most, ..self }
    }

    /// The offer with which a side keeps `policy`: see [`Timing::keeping`].
    ///
    /// # Errors
    /// [`TimingError`] where no interval does.
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::{Offer, Policy};
    ///
    /// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
    /// let offer = Offer::keeping(&policy)?;
    /// assert_eq!((offer.send, offer.multiplier), (Duration::from_secs(3), 3));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn keeping(policy: &Policy) -> Result<Self, TimingError> {
        let beats = Timing::keeping(policy)?;
        // What the promise needs, where no middlebox asks for more.
        let needed = Timing::keeping(&policy.without_mapping())?;
        let detect = needed.tolerance();
        // An interval is rounded down to nanoseconds: a third of the time goes into it three times, not four.
        let multiplier = detect.as_nanos().div_ceil(needed.interval().as_nanos().max(1) + 1);
        let multiplier = u8::try_from(multiplier)
            .map_err(|_| TimingError::Unreachable { detect, least: needed.interval() * 255 })?;
        // Rounded down to what a HELLO can say, so that the product is no longer than promised.
        let told = |interval: Duration| Duration::from_millis(interval.as_millis() as u64);
        let hear = told(detect / u32::from(multiplier));
        let send = hear.min(told(beats.interval()));
        let idle_at_most = policy.mapping_timeout().map_or(Duration::MAX, |_| send);
        Ok(Self { send, hear, multiplier, at_most: detect, outage: policy.outage(), idle_at_most })
    }

    /// What follows from this side's offer and the peer's.
    ///
    /// # Errors
    /// [`TimingError`] when that can't be kept, or takes longer than [`Offer::at_most`].
    pub fn agree(&self, peer: &Self) -> Result<Timing, TimingError> {
        let interval = self.send.max(peer.hear).min(self.idle_at_most);
        let hears = peer.send.max(self.hear);
        let mut tolerance = hears.saturating_mul(peer.multiplier.into());
        if !self.outage.is_zero() {
            tolerance = tolerance.max(hears.saturating_add(Timing::late_after(self.outage)));
        }
        if tolerance > self.at_most {
            return Err(TimingError::Unreachable { detect: self.at_most, least: tolerance });
        }
        Timing::new(interval, tolerance)
    }
}

/// The bytes before the id.
const FIXED: usize = 14;

/// The first frame of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'b> {
    /// What it offers.
    pub offer: Offer,
    /// Who it says it is; may be empty.
    pub id: &'b str,
}

impl<'b> Hello<'b> {
    /// The most bytes of an id.
    pub const LONGEST_ID: usize = 64;
    const MAGIC: [u8; 3] = [HELLO, b'D', b'P'];

    pub(super) fn decode(bytes: &'b [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        // As early as possible: half of a wrong greeting is wrong already.
        let seen = bytes.len().min(Self::MAGIC.len());
        if bytes[..seen] != Self::MAGIC[..seen] {
            return Err(Malformed::NotHello);
        }
        match bytes.get(3) {
            Some(&version) if version != VERSION => return Err(Malformed::Version(version)),
            _ => {}
        }
        let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
        let millis = |at: usize| {
            let millis = u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
            Duration::from_millis(millis.into())
        };
        let offer = Offer::new(millis(4), millis(8), fixed[12]);
        if offer.multiplier == 0 {
            return Err(Malformed::Hello { what: "the multiplier 0" });
        }
        for interval in [offer.send, offer.hear] {
            if !(Timing::SHORTEST..=Timing::LONGEST).contains(&interval) {
                return Err(Malformed::Hello { what: "an interval below 10 ms or above a day" });
            }
        }
        let length = usize::from(fixed[13]);
        if length > Self::LONGEST_ID {
            return Err(Malformed::Hello { what: "an id of more than 64 bytes" });
        }
        let end = FIXED + length;
        let Some(id) = bytes.get(FIXED..end) else { return Ok(None) };
        match core::str::from_utf8(id) {
            Ok(id) if !id.contains(char::is_control) => Ok(Some((Self { offer, id }, end))),
            _ => Err(Malformed::Hello { what: "an id that is not plain UTF-8" }),
        }
    }

    /// An id that is too long is cut.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let millis =
            |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).to_be_bytes();
        let whole = |end: &usize| self.id.is_char_boundary(*end);
        let id = match self.id.len() {
            0..=Self::LONGEST_ID => self.id,
            _ => &self.id[..(0..=Self::LONGEST_ID).rev().find(whole).unwrap_or(0)],
        };
        out.extend_from_slice(&Self::MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&millis(self.offer.send));
        out.extend_from_slice(&millis(self.offer.hear));
        out.extend_from_slice(&[self.offer.multiplier.max(1), id.len() as u8]);
        out.extend_from_slice(id.as_bytes());
    }
}
