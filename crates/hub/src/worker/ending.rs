//! How a session ends: once, with its cause and its last events.

use std::net::SocketAddr;
use std::time::Duration;

use deadpeer::PeerLost;
use deadpeer_core::Set;
use deadpeer_core::session::{Happened, History, What};

use super::Worker;
use super::visit::{Outcome, Over, Visit, Why, reset_on_close};
use crate::event::{Ending, Event, Refusal, Who};

impl Visit<'_> {
    /// Whether a connection is being carried that is not complete.
    pub(super) fn is_carrying(&mut self) -> bool {
        self.is_up() && self.entry.joint().is_some_and(|joint| !joint.carried.is_over())
    }

    /// The stop deadline has come.
    pub(super) fn give_up(&mut self) -> Outcome {
        if let Some(joint) = self.entry.joint().filter(|joint| !joint.carried.is_over()) {
            let todo = joint.carried.handle_deadline();
            self.perform(todo, None)?;
        }
        Err(Over::told(None))
    }
}

impl Worker {
    /// Ends those whose peer was silent for too long.
    pub(super) fn end_silent(&mut self) {
        let now = self.context.now;
        let mut silent: Vec<(usize, Duration)> = Vec::new();
        self.columns.sweep_silent(now, |index, time| silent.push((index, time)));
        if silent.is_empty() {
            return;
        }
        let rows: Vec<usize> = silent.iter().map(|(index, _)| *index).collect();
        let histories = self.columns.histories(&rows, now);
        for ((index, time), history) in silent.into_iter().zip(histories) {
            let Some(entry) = self.entries.get(index).and_then(Option::as_ref) else { continue };
            let closing = entry.extra.as_ref().is_some_and(|extra| extra.closing);
            let greeting = self.columns.session(index).is_some_and(|session| session.is_greeting());
            let over = if closing {
                Over::told(None)
            } else if greeting {
                Over::refused(Refusal::Silent { patience: self.context.terms.greeting }, None)
            } else {
                Over::died(PeerLost::missed(&entry.socket, time))
            };
            self.end(index, *over, Some(history));
        }
    }

    /// Says what is still to be said, tells how the session ended, and lets go of it; of one that has still to write
    /// something, once that is written. `history`: where the session's row is free already.
    pub(super) fn end(&mut self, index: usize, over: Over, history: Option<History>) {
        let Over { why, bye } = over;
        let Some(entry) = self.entries.get_mut(index).and_then(Option::as_mut) else { return };
        let Self { columns, context, .. } = self;
        let mut visit = Visit { index, entry, columns, context };
        let aborted = visit.entry.joint().map(|joint| joint.carried.handle_session_lost());
        let gone = matches!(why, Why::Ended(Ending::Died(_)) | Why::Refused(Refusal::Silent { .. }));
        if let Some(bye) = bye {
            visit.say(false, |live, now, out| live.bye(bye, now, out));
        }
        if aborted.is_some_and(|todo| todo.abort)
            && let Some(joint) = visit.entry.joint()
        {
            joint.abort();
        }
        let closing = !gone && visit.entry.is_blocked() && (bye.is_some() || !matches!(why, Why::Told));
        self.tell(index, why, history);
        if closing && let Some(entry) = self.entries.get_mut(index).and_then(Option::as_mut) {
            let extra = entry.extra();
            extra.closing = true;
            return;
        }
        self.remove(index, gone);
    }

    fn tell(&self, index: usize, why: Why, history: Option<History>) {
        let Some(entry) = self.entries.get(index).and_then(Option::as_ref) else { return };
        let now = self.context.now;
        let address = SocketAddr::from(entry.address);
        let shared = &self.context.shared;
        if entry.extra.as_ref().is_some_and(|extra| extra.closing) {
            return;
        }
        match why {
            Why::Told => {}
            Why::Refused(why) => shared.tell(Event::Refused { address, why }),
            Why::Ended(why) => {
                let own =
                    entry.extra.as_ref().and_then(|extra| extra.joint.as_ref()).map(|joint| joint.history);
                let journal = || self.columns.histories(&[index], now).pop().unwrap_or_default();
                let mut history = own.or(history).unwrap_or_else(journal);
                if matches!(why, Ending::Died(_)) {
                    history.record(What::Lost, 0, now);
                }
                let events: Box<[Happened]> = history.events(now).collect();
                let who = Who { id: entry.id.to_string(), address };
                let up = self.columns.session(index).map_or(Duration::ZERO, |session| session.age(now));
                shared.tell(Event::Ended { who, why, up, events });
            }
        }
    }

    fn remove(&mut self, index: usize, gone: bool) {
        let Some(mut entry) = self.entries.get_mut(index).and_then(Option::take) else { return };
        self.columns.close(index);
        self.watched.remove(&index);
        self.context.shared.release(SocketAddr::from(entry.address).ip());
        if gone {
            // Nothing of a dead peer is to stay in the kernel.
            reset_on_close(&entry.socket);
        }
        if self.context.shared.config.settings.is_some_and(|settings| matches!(settings.rto_max, Set::To(_)))
        {
            // What was written is to arrive after the close, too. What can't be set can't be helped any more.
            let _ = entry.joint().and_then(|joint| joint.plain.as_ref()).map(deadpeer::before_close);
        }
    }
}
