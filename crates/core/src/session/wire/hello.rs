//! The first frame of each side, and what two of them agree on.

use alloc::vec::Vec;
use core::time::Duration;

use super::frame::HELLO;
use super::{Malformed, VERSION};
use crate::heartbeat::{Timing, TimingError};
use crate::policy::Policy;
use crate::stamp::millis;

/// What one side offers: how often it is willing to send, how often it needs to hear, and how long it waits.
///
/// In each direction the sender sends something at least every [`send`](Offer::send) of its own or every
/// [`hear`](Offer::hear) of the other side, whichever is longer. So a server that sends at most every 100 ms and a client
/// that needs to hear every 3 s agree on 3 s, whatever the server itself needs to hear. Times are told to the
/// millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// This side sends no more often than this: 10 ms to 24 h.
    pub send: Duration,
    /// This side needs to hear something at least this often: 10 ms to 24 h.
    pub hear: Duration,
    /// This side gives the other one up after this much silence: 10 ms to 24 h.
    pub patience: Duration,
    /// How much later than its interval a heartbeat of a healthy peer may arrive. The peer is refused if its interval and
    /// this margin exceed the patience. Not sent.
    pub margin: Duration,
    /// This side sends at least this often, whatever the other side asks for, because a middlebox on its way forgets idle
    /// connections. [`Duration::MAX`] for none. Not sent.
    pub idle_at_most: Duration,
}

impl Offer {
    /// Unless a side says otherwise, it is willing to send this often.
    pub const FASTEST: Duration = Duration::from_millis(100);

    /// An offer of these three times, with no margin.
    pub const fn new(send: Duration, hear: Duration, patience: Duration) -> Self {
        Self { send, hear, patience, margin: Duration::ZERO, idle_at_most: Duration::MAX }
    }

    /// The offer that keeps `policy`: see [`Timing::keeping`].
    ///
    /// # Errors
    /// [`TimingError`] if no interval keeps it.
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::{Policy, session::Offer};
    ///
    /// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
    /// let offer = Offer::keeping(&policy)?;
    /// assert_eq!((offer.hear, offer.patience), (Duration::from_secs(3), Duration::from_secs(9)));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn keeping(policy: &Policy) -> Result<Self, TimingError> {
        let beats = Timing::keeping(policy)?;
        // A middlebox on the way asks for beats of this side, and not for more beats of the other side.
        let needed = Timing::keeping(&policy.without_mapping())?;
        let told = |time: Duration| Duration::from_millis(time.as_millis() as u64);
        let hear = told(needed.interval());
        Ok(Self {
            send: hear.min(Self::FASTEST),
            hear,
            // Not rounded: the interval is, so the margin between the two would shrink.
            patience: needed.tolerance(),
            margin: Timing::late_after(policy.outage()),
            idle_at_most: policy.mapping_timeout().map_or(Duration::MAX, |_| told(beats.interval())),
        })
    }

    /// The same, sending no more often than `send`.
    #[must_use]
    pub const fn sending(self, send: Duration) -> Self {
        Self { send, ..self }
    }

    /// What follows from this side's offer and the peer's: how often this side sends, and how long it waits.
    ///
    /// # Errors
    /// [`TimingError::Unreachable`] if the peer sends too seldom for this side's patience.
    pub fn agree(&self, peer: &Self) -> Result<Timing, TimingError> {
        let interval = self.send.max(peer.hear).min(self.idle_at_most);
        let least = peer.send.max(self.hear).saturating_add(self.margin);
        if least > self.patience {
            return Err(TimingError::Unreachable { detect: self.patience, least });
        }
        Timing::new(interval.max(Timing::SHORTEST), self.patience)
    }
}

/// The bytes before what the length counts.
const PREFIX: usize = 6;
/// The bytes before the options.
const FIXED: usize = 18;

const ID: u8 = 1;
const MAX_MESSAGE: u8 = 3;
const WINDOW: u8 = 4;
const TOKEN: u8 = 6;
/// Unknown options of this type and above are ignored.
const IGNORED: u8 = 0x80;

/// The first frame of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'b> {
    /// What the sender offers.
    pub offer: Offer,
    /// The name of the sender; may be empty. At most [`Hello::LONGEST_ID`] bytes without control characters.
    pub id: &'b str,
    /// The largest message that the sender accepts, bytes.
    pub max_message: u32,
    /// The credit with which the other side begins, bytes; 0 if the sender accepts no DATA.
    pub window: u32,
    /// What proves who the sender is; empty for nothing. At most [`Hello::LONGEST_TOKEN`] bytes.
    pub token: &'b [u8],
}

impl<'b> Hello<'b> {
    /// The greatest length of an id in bytes.
    pub const LONGEST_ID: usize = 64;
    /// The greatest length of a token in bytes.
    pub const LONGEST_TOKEN: usize = 512;
    /// The greatest length of all options in bytes.
    pub const LONGEST_OPTIONS: usize = 1024;
    /// The largest message of a side that does not say another limit, bytes.
    pub const MAX_MESSAGE: u32 = 64 * 1024;
    /// The greatest credit that a side may hold, bytes.
    pub const MOST_CREDIT: u32 = i32::MAX.cast_unsigned();
    const MAGIC: [u8; 3] = [HELLO, b'D', b'P'];

    /// A HELLO with an offer and nothing else: no name, no DATA.
    pub const fn new(offer: Offer) -> Self {
        Self { offer, id: "", max_message: Self::MAX_MESSAGE, window: 0, token: &[] }
    }

    pub(super) fn decode(bytes: &'b [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        // As early as possible: half of a wrong HELLO is wrong already.
        let seen = bytes.len().min(Self::MAGIC.len());
        if bytes[..seen] != Self::MAGIC[..seen] {
            return Err(Malformed::NotHello);
        }
        if let Some(&version) = bytes.get(3)
            && version != VERSION
        {
            return Err(Malformed::Version(version));
        }
        let Some(length) = bytes.get(4..PREFIX) else { return Ok(None) };
        let end = PREFIX + usize::from(u16::from_be_bytes([length[0], length[1]]));
        if !(FIXED..=FIXED + Self::LONGEST_OPTIONS).contains(&end) {
            return Err(Malformed::Hello { what: "a length outside 12 to 1,036" });
        }
        let Some(whole) = bytes.get(..end) else { return Ok(None) };
        let time = |at: usize| {
            let ms = u32::from_be_bytes([whole[at], whole[at + 1], whole[at + 2], whole[at + 3]]);
            Duration::from_millis(ms.into())
        };
        let offer = Offer::new(time(6), time(10), time(14));
        for time in [offer.send, offer.hear, offer.patience] {
            if !(Timing::SHORTEST..=Timing::LONGEST).contains(&time) {
                return Err(Malformed::Hello { what: "a time outside 10 ms to 24 h" });
            }
        }
        let mut hello = Self::new(offer);
        let mut options = &whole[FIXED..];
        let mut seen = 0_u128;
        while !options.is_empty() {
            let torn = Malformed::Hello { what: "an option that is not whole" };
            let (kind, high, low) = match *options {
                [kind, high, low, ..] => (kind, high, low),
                _ => return Err(torn),
            };
            let end = 3 + usize::from(u16::from_be_bytes([high, low]));
            let value = options.get(3..end).ok_or(torn)?;
            options = &options[end..];
            if kind < IGNORED {
                if seen & (1 << kind) != 0 {
                    return Err(Malformed::Hello { what: "an option twice" });
                }
                seen |= 1 << kind;
                hello.option(kind, value)?;
            }
        }
        Ok(Some((hello, end)))
    }

    fn option(&mut self, kind: u8, value: &'b [u8]) -> Result<(), Malformed> {
        let number = || match *value {
            [a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
            _ => Err(Malformed::Hello { what: "a number that does not have 4 bytes" }),
        };
        match kind {
            ID => {
                let id = core::str::from_utf8(value).ok().filter(|id| is_plain(id));
                self.id =
                    id.ok_or(Malformed::Hello { what: "an id that is not at most 64 bytes of plain UTF-8" })?;
            }
            MAX_MESSAGE => self.max_message = number()?,
            WINDOW => match number()? {
                Self::MOST_CREDIT.. => return Err(Malformed::Hello { what: "a window of 2 GiB or more" }),
                window => self.window = window,
            },
            TOKEN if value.len() > Self::LONGEST_TOKEN => {
                return Err(Malformed::Hello { what: "a token of more than 512 bytes" });
            }
            TOKEN => self.token = value,
            unknown => return Err(Malformed::UnknownOption(unknown)),
        }
        Ok(())
    }

    /// An id or token that is too long is cut.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&Self::MAGIC);
        out.push(VERSION);
        let length = out.len();
        out.extend_from_slice(&[0, 0]);
        for time in [self.offer.send, self.offer.hear, self.offer.patience] {
            out.extend_from_slice(&millis(time).to_be_bytes());
        }
        let whole = |end: &usize| self.id.is_char_boundary(*end);
        let end = (0..=self.id.len().min(Self::LONGEST_ID)).rev().find(whole).unwrap_or(0);
        let mut option = |kind: u8, value: &[u8]| {
            out.push(kind);
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
            out.extend_from_slice(value);
        };
        if end > 0 {
            option(ID, &self.id.as_bytes()[..end]);
        }
        if self.max_message != Self::MAX_MESSAGE {
            option(MAX_MESSAGE, &self.max_message.to_be_bytes());
        }
        if self.window != 0 {
            option(WINDOW, &self.window.to_be_bytes());
        }
        if !self.token.is_empty() {
            option(TOKEN, &self.token[..self.token.len().min(Self::LONGEST_TOKEN)]);
        }
        let written = (out.len() - length - 2) as u16;
        out[length..length + 2].copy_from_slice(&written.to_be_bytes());
    }
}

/// Whether `id` can be an id: not too long, and nothing in it that could steer a terminal.
fn is_plain(id: &str) -> bool {
    id.len() <= Hello::LONGEST_ID && !id.contains(char::is_control)
}
