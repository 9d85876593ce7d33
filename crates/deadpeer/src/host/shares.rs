//! Work on many connections, shared by the machine's cores.

use std::num::NonZeroUsize;
use std::thread;

/// How many threads work on one scan.
pub(super) fn workers() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get).min(8)
}

/// Fewer items than this are not worth a thread.
const LEAST: usize = 4096;

/// Calls `work` on shares of `items`, each in a thread, and gives the results in the items' order.
pub(super) fn each<S: Share, R: Send>(items: S, work: impl Fn(S) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(workers()).max(LEAST);
    thread::scope(|scope| {
        let work = &work;
        let mut rest = items;
        let mut others = Vec::new();
        while rest.len() > share {
            let (first, more) = rest.split(share);
            others.push(scope.spawn(move || work(first)));
            rest = more;
        }
        let last = work(rest);
        let join = |other: thread::ScopedJoinHandle<'_, R>| match other.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        others.into_iter().map(join).chain([last]).collect()
    })
}

/// A slice, shared or exclusive.
pub(super) trait Share: Send + Sized {
    fn len(&self) -> usize;
    fn split(self, at: usize) -> (Self, Self);
}

impl<T: Sync> Share for &[T] {
    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn split(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

impl<T: Send> Share for &mut [T] {
    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn split(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_in_order() {
        for count in [0, 1, LEAST, 3 * LEAST + 1, 20 * LEAST] {
            let mut items: Vec<_> = (0..count).collect();
            let runs = each(&mut items[..], |share| {
                share.iter_mut().for_each(|item| *item += 1);
                share.to_vec()
            });
            assert_eq!(runs.concat(), (1..=count).collect::<Vec<_>>());
            assert_eq!(items, (1..=count).collect::<Vec<_>>());
        }
    }
}
