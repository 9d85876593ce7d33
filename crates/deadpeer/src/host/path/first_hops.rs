//! Asking first hops whether they are there, all of a run at once.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_os::linux::first_hop::{Asker, Ends, Family, Question};
use deadpeer_os::linux::route::Address;

use super::Place;
use super::look::Way;

/// What came of asking a first hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstHop {
    /// Nobody wanted to; or it could not be asked; or its silence would prove nothing.
    NotAsked,
    /// It answered.
    Answered,
    /// It did not.
    Silent,
    /// The link went down, or away, meanwhile.
    LinkDown,
}

/// The number of a place, and a first hop in it: an address on an interface.
type Key = (usize, (u32, IpAddr));

const TRIES: u8 = 3;
/// Between two tries, and after the last.
const GAP: Duration = Duration::from_secs(1);
/// Between the first tries to two hops: thousands of them are no burst then.
const APART: Duration = Duration::from_millis(1);
const SHORTEST_NAP: Duration = Duration::from_micros(200);
const LONGEST_NAP: Duration = Duration::from_millis(20);

/// A first hop that is asked.
struct Target {
    question: Question,
    tries: u8,
    /// How many of them left this host.
    sent: u8,
    due: Instant,
    state: FirstHop,
    done: bool,
}

/// Asks the first hops of all suspects, each once a second and three times at the most, until all have answered,
/// there is no more waiting, or `cancel` is true.
pub(super) fn ask(places: &mut [Place<'_>], cancel: &AtomicBool) {
    let mut targets: BTreeMap<Key, Target> = BTreeMap::new();
    for (number, place) in places.iter_mut().enumerate() {
        for (first_hop, question) in questions(place) {
            let due = Instant::now() + APART * u32::try_from(targets.len()).unwrap_or(u32::MAX);
            let state = FirstHop::NotAsked;
            let target = Target { question, tries: 0, sent: 0, due, state, done: false };
            targets.insert((number, first_hop), target);
        }
    }
    let mut askers = BTreeMap::new();
    for ((number, (_, address)), target) in &mut targets {
        let family = Family::of(*address);
        let open = || places[*number].namespace.run(|| Asker::open(family));
        target.done = askers.entry((*number, family)).or_insert_with(open).is_err();
    }
    run(&mut targets, &askers, cancel);
    for ((number, first_hop), target) in targets {
        let place = &mut places[number];
        let state = match target.state {
            FirstHop::Silent => place.doubt(first_hop),
            other => other,
        };
        place.first_hops.insert(first_hop, state);
    }
}

fn run(
    targets: &mut BTreeMap<Key, Target>,
    askers: &BTreeMap<(usize, Family), io::Result<Asker>>,
    cancel: &AtomicBool,
) {
    let mut nap = SHORTEST_NAP;
    while targets.values().any(|target| !target.done) && !cancel.load(Ordering::Relaxed) {
        for ((number, _), asker) in askers {
            let Ok(asker) = asker else { continue };
            while let Ok(Some(answer)) = asker.answer() {
                if let Some(target) = targets.get_mut(&(*number, answer.from()))
                    && target.question.is_answered_by(&answer)
                    && target.sent > 0
                {
                    (target.state, target.done) = (FirstHop::Answered, true);
                }
            }
        }
        let now = Instant::now();
        let mut next = now + LONGEST_NAP;
        for ((number, (_, address)), target) in targets.iter_mut().filter(|(_, target)| !target.done) {
            if target.due <= now {
                nap = SHORTEST_NAP;
                match askers.get(&(*number, Family::of(*address))) {
                    Some(Ok(asker)) if target.tries < TRIES => target.ask(asker, now),
                    _ => target.give_up(),
                }
            }
            next = next.min(target.due);
        }
        thread::sleep(nap.min(next.saturating_duration_since(now)));
        nap = (nap * 2).min(LONGEST_NAP);
    }
}

impl Target {
    fn ask(&mut self, asker: &Asker, now: Instant) {
        self.tries += 1;
        // What did not leave was no question: the link may be down for a moment, or its queue full.
        self.sent += u8::from(asker.ask(&self.question).is_ok());
        self.due = now + GAP;
    }

    fn give_up(&mut self) {
        self.done = true;
        if self.sent > 0 {
            self.state = FirstHop::Silent;
        }
    }
}

impl Place<'_> {
    /// What the silence of a first hop means: nothing where the link is gone, and nothing where an administrator
    /// has set its address by hand, as for one that does not answer.
    fn doubt(&mut self, (interface, address): (u32, IpAddr)) -> FirstHop {
        let routes = &mut self.look.routes;
        match routes.link(interface) {
            Ok(Some(link)) if link.is_up => match routes.is_set_by_hand(interface, address) {
                Ok(false) => FirstHop::Silent,
                Ok(true) | Err(_) => FirstHop::NotAsked,
            },
            Ok(_) => FirstHop::LinkDown,
            Err(_) => FirstHop::NotAsked,
        }
    }
}

/// The questions to the first hops of a place, each once.
fn questions(place: &mut Place<'_>) -> BTreeMap<(u32, IpAddr), Question> {
    let mut questions = BTreeMap::new();
    let mut addresses = None;
    for suspect in &place.suspects {
        let Ok(way @ Way::Out { link, .. }) = suspect.way else { continue };
        let (Some(first_hop), Some(ethernet)) = (way.first_hop(suspect.peer()), link.ethernet) else {
            continue;
        };
        if questions.contains_key(&first_hop) {
            continue;
        }
        let (interface, target) = first_hop;
        let addresses = addresses.get_or_insert_with(|| place.look.addresses());
        if let Some(ends) = ends(interface, target, suspect.connection.row.local.ip(), addresses) {
            questions.insert(first_hop, Question { interface, ethernet, ends });
        }
    }
    questions
}

/// Who asks for `target`: the connection's own address, as in the kernel's own questions, if it is one of this
/// interface; else another of the interface. A neighbour would note down any other for this link.
fn ends(interface: u32, target: IpAddr, local: IpAddr, addresses: &[Address]) -> Option<Ends> {
    let on_link = || addresses.iter().filter(|address| address.interface == interface && address.is_usable);
    let own = on_link().find(|address| address.ip == local);
    match target {
        IpAddr::V4(target) => {
            let v4 = |address: &Address| match address.ip {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            };
            let beside = || on_link().find(|address| address.is_beside(target.into()));
            let sender = own.or_else(beside).and_then(v4).or_else(|| on_link().find_map(v4));
            Some(Ends::V4 { sender: sender.unwrap_or(Ipv4Addr::UNSPECIFIED), target })
        }
        IpAddr::V6(target) => {
            let v6 = |address: &Address| match address.ip {
                IpAddr::V6(ip) => Some(ip),
                IpAddr::V4(_) => None,
            };
            let mut all = on_link().filter_map(v6);
            let link_local = || on_link().filter_map(v6).find(|ip| ip.is_unicast_link_local());
            let sender = own.and_then(v6).or_else(link_local).or_else(|| all.next())?;
            Some(Ends::V6 { sender, target })
        }
    }
}
