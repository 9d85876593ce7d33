//! The formulas agree with the simulation of the kernel's timers; plans survive what they promise to.

use core::time::Duration;

use crate::simulation::{self, Machine, Outage, Seeded, Set};
use crate::{Bound, Connecting, Detection, Keepalive, KeepaliveSeen, Known, Platform, Protection, detection};

const SEED: u64 = 0x0dea_d9ee;

fn machine(random: &mut Seeded) -> Machine {
    // The story never begins before a timer that was armed earlier.
    Machine { hz: random.one_of(&[100, 250, 300, 1000]), origin: (1 << 40) + random.next() % (1 << 30) }
}

fn set(random: &mut Seeded) -> Set {
    Set {
        idle: random.within(1, 32_767),
        interval: random.within(1, 32_767),
        probes: random.within(1, 127),
        user_timeout: match random.next() % 2 {
            0 => 0,
            _ => random.within(1, 100_000_000),
        },
        rto_max: random.within(1_000, 120_000),
        retries2: random.within(0, 20),
        syn_retries: random.within(1, 20),
        syn_linear: random.within(0, 20),
    }
}

fn predicted(set: &Set, rto: Duration) -> (Detection, Platform) {
    let mut platform = Platform::linux();
    platform.retries = Known::Is(set.retries2 as u8);
    platform.connecting = Connecting::Retries {
        doubling: Known::Is(set.syn_retries as u8),
        equal: Known::Is(set.syn_linear as u8),
    };
    let secs = Duration::from_secs;
    let values = Keepalive::new(secs(set.idle), secs(set.interval), set.probes as u8).unwrap();
    let protection = Protection {
        keepalive: Known::Is(KeepaliveSeen { enabled: true, values: Known::Is(values) }),
        user_timeout: Known::Is((set.user_timeout > 0).then(|| Duration::from_millis(set.user_timeout))),
        rto_max: Known::Is(Some(Duration::from_millis(set.rto_max))),
    };
    (detection(&protection, &platform, rto), platform)
}

#[track_caller]
fn check(state: &str, bound: Bound, seen: u64, machine: Machine, set: &Set) {
    let Bound::Within { least, most } = bound else { panic!("{state}: {bound:?}") };
    let seen = machine.time(seen);
    // Clocks that count ticks are up to one short.
    let tick = machine.time(1) + Duration::from_millis(1);
    assert!(
        least <= seen + tick && seen <= most,
        "{state}: {seen:?} not in {least:?}..{most:?} with {set:?} on {machine:?}"
    );
}

#[test]
fn the_kernels_timers_keep_to_the_formulas_for_100_000_random_settings() {
    let mut random = Seeded(SEED);
    for _ in 0..100_000 {
        let (machine, set) = (machine(&mut random), set(&mut random));
        // The kernel keeps it in ticks, and tells it so.
        let rto = machine.ticks(random.within(200, 1_000)) * 1_000 / machine.hz;
        let (predicted, _) = predicted(&set, Duration::from_millis(rto));
        let armed_for = random.one_of(&[set.idle, set.interval]) * machine.hz;
        let armed = (random.within(0, armed_for - 1), armed_for);
        let (died, _) = simulation::keepalive(machine, &set, armed, (Outage::FOR_EVER, 0), u64::MAX);
        check("idle", predicted.idle, died.unwrap(), machine, &set);
        let loss_probe = Some(random.within(2, rto)).filter(|ms| ms % 2 == 0);
        let died = simulation::in_flight(machine, &set, (rto, loss_probe), Outage::FOR_EVER, 0);
        check("in flight", predicted.in_flight, died.unwrap(), machine, &set);
        let (died, _) = simulation::shut_window(machine, &set, rto, 0);
        check("shut window", predicted.shut_window, died, machine, &set);
        let (died, heard) = simulation::shut_window(machine, &set, rto, random.within(0, 40));
        let bound = match predicted.shut_window {
            // A user timeout ends it whether or not the peer answers, so at any time after an answer.
            Bound::Within { most, .. } if set.user_timeout > 0 => {
                Bound::Within { least: Duration::ZERO, most }
            }
            bound => bound,
        };
        check("window shut for a while", bound, died - heard, machine, &set);
        let died = simulation::connecting(machine, &set);
        check("connecting", predicted.connecting, died, machine, &set);
    }
}
