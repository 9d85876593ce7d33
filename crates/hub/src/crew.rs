//! The loops, each in its thread, and how to reach them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use deadpeer_core::session::{Bye, Reason};
use mio::{Poll, Waker};

use crate::shared::{SessionStatus, Shared};
use crate::worker::{Order, Role, WAKER, Worker};

/// The way to one loop.
#[derive(Clone, Debug)]
pub(crate) struct Hand {
    orders: Sender<Order>,
    waker: Arc<Waker>,
}

impl Hand {
    /// Orders, and wakes the loop. A loop that has ended takes none.
    pub(crate) fn order(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            // It fails only where the loop's own poll is broken; then nothing could wake it.
            let _ = self.waker.wake();
        }
    }
}

/// All loops of a hub.
#[derive(Debug)]
pub(crate) struct Crew {
    pub hands: Vec<Hand>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    stop_within: Duration,
}

impl Crew {
    /// Starts them.
    ///
    /// # Errors
    /// Of the system, for lack of descriptors or threads.
    pub(crate) fn start(shared: &Arc<Shared>, role: &Role, seed: u64) -> io::Result<Self> {
        let mut crew =
            Self { hands: Vec::new(), threads: Vec::new(), stop_within: shared.config.limits.stop_within };
        for number in 0..shared.config.loops.get() {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            let (orders, received) = channel();
            let worker = Worker::new(poll, received, Arc::clone(shared), role.clone(), seed ^ number as u64)?;
            let name = format!("sessions-{number}");
            crew.threads.push(std::thread::Builder::new().name(name).spawn(|| worker.run())?);
            crew.hands.push(Hand { orders, waker });
        }
        Ok(crew)
    }

    /// Who is here. A loop that doesn't answer in time is left out.
    pub(crate) fn report(&self) -> Vec<SessionStatus> {
        /// A loop that is well answers within milliseconds.
        const PATIENCE: Duration = Duration::from_secs(5);
        let (reply, reports) = channel();
        for hand in &self.hands {
            hand.order(Order::Report(reply.clone()));
        }
        drop(reply);
        std::iter::from_fn(|| reports.recv_timeout(PATIENCE).ok()).flatten().collect()
    }

    /// Says goodbye to all sessions, and waits for the loops to end.
    ///
    /// # Errors
    /// Why a loop ended before.
    pub(crate) fn stop(&mut self, bye: Bye) -> io::Result<()> {
        for hand in &self.hands {
            hand.order(Order::Stop(bye, self.stop_within));
        }
        // The wakers stay until the loops have ended: a closed one wakes nobody.
        let ended = self.threads.drain(..).map(|thread| match thread.join() {
            Ok(ended) => ended,
            Err(_) => Err(io::Error::other("a loop of the hub panicked")),
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    }
}

/// A crew that nobody stopped is stopped now.
impl Drop for Crew {
    fn drop(&mut self) {
        // Nobody is there to be told how a loop ended.
        let _ = self.stop(Bye::new(Reason::Done));
    }
}
