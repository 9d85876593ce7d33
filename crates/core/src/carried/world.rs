//! Two ends of a carried connection over simulated queues, for property tests and for fuzzing.

use std::collections::VecDeque;
use std::vec::Vec;

use super::{Carried, End, Reason, Todo};

/// What the session carries, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Data(Vec<u8>),
    End,
    Bye,
}

/// One end with its plain connection.
pub(crate) struct Side {
    carried: Carried,
    /// What the program has sent and this side has not read; then perhaps an end of file.
    program_sends: VecDeque<u8>,
    program_closed: bool,
    /// What the program was given.
    pub(crate) program_got: Vec<u8>,
    pub(crate) program_got_end: bool,
    pub(crate) program_was_reset: bool,
    queue: VecDeque<u8>,
    /// Frames on the way to the other side.
    sends: VecDeque<Frame>,
    /// RESET overtakes them.
    reset: Option<Reason>,
    pub(crate) ended: Vec<End>,
    /// The direction to the other side may have so much more under way.
    credit: usize,
}

impl Side {
    pub(crate) fn new(carried: Carried) -> Self {
        Self {
            carried,
            program_sends: VecDeque::new(),
            program_closed: false,
            program_got: Vec::new(),
            program_got_end: false,
            program_was_reset: false,
            queue: VecDeque::new(),
            sends: VecDeque::new(),
            reset: None,
            ended: Vec::new(),
            credit: 20,
        }
    }

    pub(crate) fn perform(&mut self, todo: Todo) {
        if let Some(reason) = todo.reset {
            self.sends.clear();
            self.reset = Some(reason);
        }
        if todo.end {
            self.sends.push_back(Frame::End);
        }
        if todo.shut {
            assert!(self.queue.is_empty(), "rule 2");
            self.program_got_end = true;
        }
        if todo.bye {
            self.sends.push_back(Frame::Bye);
        }
        if todo.abort {
            self.program_was_reset = true;
            self.queue.clear();
        }
        self.ended.extend(todo.over);
        assert!(self.ended.len() <= 1, "rule 5");
        assert_eq!(self.carried.queued() as usize, self.queue.len());
    }

    /// Reads a little of what the program sent.
    pub(crate) fn read_plain(&mut self, most: usize) -> bool {
        if !self.carried.may_read_plain() {
            return false;
        }
        let length = self.program_sends.len().min(most).min(self.credit);
        if length > 0 {
            self.credit -= length;
            let piece = self.program_sends.drain(..length).collect();
            self.sends.push_back(Frame::Data(piece));
            return true;
        }
        if self.program_sends.is_empty() && self.program_closed {
            let todo = self.carried.handle_plain_end();
            self.perform(todo);
            return true;
        }
        false
    }

    /// The program takes a little. Says how much.
    pub(crate) fn take(&mut self, most: usize) -> usize {
        if !self.carried.may_write_plain() {
            return 0;
        }
        let length = self.queue.len().min(most);
        self.program_got.extend(self.queue.drain(..length));
        let todo = self.carried.handle_taken(length as u32);
        self.perform(todo);
        length
    }

    pub(crate) fn receive(&mut self, frame: Frame) {
        if self.carried.is_over() {
            return;
        }
        let todo = match frame {
            Frame::Data(piece) => {
                assert!(self.queue.len() + piece.len() <= 20, "credit");
                self.queue.extend(&piece);
                self.carried.handle_data(piece.len() as u32);
                return;
            }
            Frame::End => self.carried.handle_end(),
            Frame::Bye => self.carried.handle_bye(),
        };
        self.perform(todo);
    }
}

/// Moves one frame from `from` to `to`. Says whether there was one.
pub(crate) fn carry(from: &mut Side, to: &mut Side) -> bool {
    if let Some(reason) = from.reset.take() {
        if !to.carried.is_over() {
            let todo = to.carried.handle_reset(reason);
            to.perform(todo);
        }
        return true;
    }
    match from.sends.pop_front() {
        Some(frame) => {
            to.receive(frame);
            true
        }
        None => false,
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send { side: usize, bytes: usize },
    Close { side: usize },
    Read { side: usize, most: usize },
    Take { side: usize, most: usize },
    Carry { from: usize },
    Dialed,
    PlainLost { side: usize },
    SessionLost,
    Deadline { side: usize },
}

pub(crate) struct World {
    pub(crate) sides: [Side; 2],
    pub(crate) sent: [Vec<u8>; 2],
    next: u8,
}

impl World {
    pub(crate) fn new() -> Self {
        let sides = [Side::new(Carried::joined()), Side::new(Carried::dialing())];
        Self { sides, sent: [Vec::new(), Vec::new()], next: 0 }
    }

    pub(crate) fn carry(&mut self, from: usize) -> bool {
        let [one, other] = &mut self.sides;
        if from == 0 { carry(one, other) } else { carry(other, one) }
    }

    pub(crate) fn take(&mut self, side: usize, most: usize) -> bool {
        let taken = self.sides[side].take(most);
        self.sides[1 - side].credit += taken;
        taken > 0
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { side, bytes } if !self.sides[side].program_closed => {
                for _ in 0..bytes {
                    self.next = self.next.wrapping_add(1);
                    self.sent[side].push(self.next);
                    self.sides[side].program_sends.push_back(self.next);
                }
            }
            Step::Send { .. } => {}
            Step::Close { side } => self.sides[side].program_closed = true,
            Step::Read { side, most } => drop(self.sides[side].read_plain(most)),
            Step::Take { side, most } => drop(self.take(side, most)),
            Step::Carry { from } => drop(self.carry(from)),
            Step::Dialed => {
                let todo = self.sides[1].carried.handle_dialed();
                self.sides[1].perform(todo);
            }
            Step::PlainLost { side } => {
                let was_over = self.sides[side].carried.is_over();
                let todo = self.sides[side].carried.handle_plain_lost();
                self.sides[side].perform(todo);
                // Rule 3, in any half state: the very next thing that crosses.
                if !was_over && self.sides[side].ended == [End::PlainLost] {
                    let open = !self.sides[1 - side].carried.is_over();
                    assert!(self.carry(side));
                    assert!(!open || self.sides[1 - side].ended == [End::PeerReset(Reason::Lost)]);
                }
            }
            Step::SessionLost => {
                for side in &mut self.sides {
                    side.sends.clear();
                    let todo = side.carried.handle_session_lost();
                    side.perform(todo);
                }
            }
            Step::Deadline { side } => {
                let todo = self.sides[side].carried.handle_deadline();
                self.sides[side].perform(todo);
                assert!(self.sides[side].carried.is_over());
            }
        }
        for side in [0, 1] {
            let (sent, got) = (&self.sent[1 - side], &self.sides[side].program_got);
            assert!(sent.starts_with(got), "rule 1");
            if self.sides[side].program_got_end {
                assert!(self.sides[1 - side].program_closed && sent == got, "rule 2");
            }
        }
    }

    /// Everything that can go on without anybody's doing goes on.
    pub(crate) fn settle(&mut self) {
        self.step(&Step::Dialed);
        for _ in 0..100_000 {
            let mut moved = false;
            for side in [0, 1] {
                moved |= self.sides[side].read_plain(7);
                moved |= self.carry(side);
                moved |= self.take(side, 5);
            }
            if !moved {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Both programs close, and everything goes on to its end: what each program got, and how it ended.
    pub(crate) fn conclude(&mut self) {
        self.step(&Step::Close { side: 0 });
        self.step(&Step::Close { side: 1 });
        self.settle();
        for side in [0, 1] {
            let this = &self.sides[side];
            assert_eq!(this.ended.len(), 1, "{:?}", this.ended);
            let whole = this.program_got_end && this.program_got == self.sent[1 - side];
            assert!(whole || this.program_was_reset, "a part was taken for the whole");
        }
    }
}
