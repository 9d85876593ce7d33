//! Every plan that is handed out keeps its policy, by the formulas and in the simulated kernel.

use core::time::Duration;

use proptest::prelude::*;

use crate::simulation::{self, Machine, Outage, Seeded};
use crate::{Bound, Known, Plan, Platform, Policy, Protection, Set, System, Warning, Why, Wish, shortfalls};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn platforms() -> [Platform; 6] {
    let mut old = Platform::linux();
    old.rto_max_per_socket = false;
    let linux = Platform::linux();
    [linux, old, Platform::windows(), Platform::windows_1607(), Platform::macos(), Platform::freebsd()]
}

/// Goals as somebody may have them.
fn goals() -> impl Strategy<Value = (u64, f64, Option<u64>, Option<u64>, (bool, bool), usize)> {
    let mapping = proptest::option::of(1_000u64..8_000_000);
    let budget = proptest::option::of(100u64..50_000_000);
    (500u64..10_000_000, 0.0f64..0.95, mapping, budget, any::<(bool, bool)>(), 0..platforms().len())
}

fn policy(
    detect: u64,
    share: f64,
    mapping: Option<u64>,
    budget: Option<u64>,
    (slow_readers, ceiling): (bool, bool),
) -> Policy {
    let mut builder = Policy::detect(ms(detect))
        .survive(ms((detect as f64 * share) as u64))
        .slow_readers(slow_readers)
        .accept_rto_ceiling(ceiling);
    if let Some(mapping) = mapping {
        builder = builder.mapping_timeout(ms(mapping));
    }
    if let Some(budget) = budget {
        builder = builder.bytes_per_day(budget);
    }
    builder.build().unwrap()
}

/// No mechanism gives up on an outage that starts at the worst moment: timers on time.
fn survives(plan: &Plan, platform: &Platform, outage: Duration) -> Result<(), TestCaseError> {
    let Set::To(keepalive) = plan.settings.keepalive else { panic!("{plan:?}") };
    // The outage starts just before the first probe; the last one before the verdict must come after it.
    let last = keepalive.interval() * u32::from(keepalive.probes() - 1);
    prop_assert!(last > outage, "{plan:?}");
    if let Set::To(timeout) = plan.settings.user_timeout {
        if platform.bound.replaces_probe_count {
            prop_assert!(timeout > keepalive.idle() + keepalive.interval() + outage, "{plan:?}");
        }
        // In flight, retransmissions double their distance: one must come between outage and timeout.
        let mut retransmission = Plan::RTO;
        while retransmission <= outage {
            retransmission = retransmission * 2 + Plan::RTO;
        }
        prop_assert!(retransmission < timeout + Plan::RTO, "{plan:?}");
    }
    Ok(())
}

/// The same in the simulated kernel, with late timers: in both states, for an outage that begins just before
/// the first probe or with the data. True for a plan that survives.
fn survives_simulated(plan: &Plan, outage: Duration, random: &mut Seeded) -> bool {
    let machine =
        Machine { hz: random.one_of(&[100, 250, 1000]), origin: (1 << 40) + random.next() % (1 << 30) };
    let Set::To(keepalive) = plan.settings.keepalive else { panic!("{plan:?}") };
    let milliseconds = |set| match set {
        Set::To(value) => u64::try_from(Duration::as_millis(&value)).unwrap(),
        Set::Off | Set::Leave => 0,
    };
    let set = simulation::Set {
        idle: keepalive.idle().as_secs(),
        interval: keepalive.interval().as_secs(),
        probes: keepalive.probes().into(),
        user_timeout: milliseconds(plan.settings.user_timeout),
        rto_max: Some(milliseconds(plan.settings.rto_max)).filter(|ms| *ms > 0).unwrap_or(120_000),
        retries2: 15,
        syn_retries: 6,
        syn_linear: 4,
    };
    let length = machine.ticks(u64::try_from(outage.as_millis()).unwrap());
    let rtt = machine.ticks(random.within(1, 300));
    let armed = (0, set.idle * machine.hz);
    let (_, first_look) = simulation::keepalive(machine, &set, armed, (Outage::FOR_EVER, rtt), u64::MAX);
    let starts = first_look - random.within(0, 3.min(first_look));
    let cut = Outage(starts, starts + length);
    let until = first_look + 3 * length + 3 * set.idle * machine.hz;
    let (idle, _) = simulation::keepalive(machine, &set, armed, (cut, rtt), until);
    let rto = random.within(rtt * 1000 / machine.hz + 1, 499);
    let loss_probe = Some(random.within(2, 499)).filter(|ms| ms % 2 == 0);
    let in_flight = simulation::in_flight(machine, &set, (rto, loss_probe), Outage(0, length), rtt);
    idle.is_none() && in_flight.is_none()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn plans_keep_what_they_promise((detect, share, mapping, budget, readers, platform) in goals()) {
        let (slow_readers, ceiling) = readers;
        let policy = policy(detect, share, mapping, budget, readers);
        let platform = platforms()[platform];
        match policy.plan(&platform) {
            Ok(plan) => {
                let Bound::Within { most, .. } = plan.detection.idle else { panic!("{plan:?}") };
                prop_assert!(most <= ms(detect), "{plan:?}");
                let said = plan.warnings.iter().any(|warning| warning.kind() == "in-flight-unbounded");
                match plan.detection.in_flight {
                    Bound::Within { most, .. } => prop_assert!(most <= ms(detect) || said, "{plan:?}"),
                    other => panic!("{other:?}"),
                }
                match plan.detection.shut_window {
                    Bound::Within { most, .. } => prop_assert!(most <= ms(detect) || said, "{plan:?}"),
                    Bound::Unknown(_) => prop_assert!(platform.system != System::Linux),
                    other @ Bound::Never => panic!("{other:?}"),
                }
                prop_assert!(slow_readers || !said, "{plan:?}");
                let has_ceiling = matches!(plan.settings.rto_max, Set::To(_));
                prop_assert!(!has_ceiling || (slow_readers && ceiling), "{plan:?}");
                for price in ["rto-ceiling-loses-data", "rto-ceiling-ends-sooner", "rto-ceiling-congests"] {
                    let told = plan.warnings.iter().any(|warning| warning.kind() == price);
                    prop_assert_eq!(told, has_ceiling, "{:?}", &plan);
                }
                // What a socket with these settings falls short of is what the plan has said.
                let short = shortfalls(&Protection::of(&plan.settings), &platform, &policy);
                prop_assert_eq!(!short.is_empty(), said, "{:?} {:?}", short, &plan);
                let Set::To(keepalive) = plan.settings.keepalive else { panic!("{plan:?}") };
                let whole = |time: Duration, unit: Duration| time.as_nanos().is_multiple_of(unit.as_nanos());
                prop_assert!(whole(keepalive.idle(), platform.keepalive_unit), "{plan:?}");
                prop_assert!(whole(keepalive.interval(), platform.keepalive_unit), "{plan:?}");
                prop_assert!(platform.fixed_probes.is_none_or(|n| n == keepalive.probes()), "{plan:?}");
                if let Set::To(bound) = plan.settings.user_timeout {
                    prop_assert!(whole(bound, platform.bound.unit), "{plan:?}");
                    prop_assert!(!(slow_readers && platform.bound.ends_slow_readers), "{plan:?}");
                }
                if let Some(mapping) = mapping {
                    prop_assert!(platform.latest(keepalive.idle()) < ms(mapping), "{plan:?}");
                }
                prop_assert!(budget.is_none_or(|budget| plan.bytes_per_day <= budget), "{plan:?}");
                survives(&plan, &platform, policy.outage())?;
                if platform.system == System::Linux {
                    let mut random = Seeded(detect);
                    for _ in 0..10 {
                        prop_assert!(survives_simulated(&plan, policy.outage(), &mut random), "{plan:?}");
                    }
                }
            }
            // A refusal names a best that is worse than what was wanted, and can be had.
            Err(refusal) if refusal.what == Wish::Outage => {
                prop_assert!(refusal.best < refusal.wanted, "{refusal:?}");
                let again = Policy::detect(ms(detect)).survive(ms(refusal.best)).slow_readers(slow_readers);
                let again = again.accept_rto_ceiling(ceiling).build().unwrap().plan(&platform);
                prop_assert!(!again.is_err_and(|error| error.what == Wish::Outage), "{refusal:?}");
            }
            Err(refusal) => {
                prop_assert!(refusal.best > refusal.wanted, "{refusal:?}");
                let again = match refusal.what {
                    Wish::Detect => policy.with_detect(ms(refusal.best)).without_mapping(),
                    Wish::MappingTimeout => policy.with_mapping(ms(refusal.best)),
                    Wish::BytesPerDay | Wish::Outage => {
                        Policy::detect(ms(detect)).survive(policy.outage()).slow_readers(slow_readers)
                            .accept_rto_ceiling(ceiling)
                            .bytes_per_day(refusal.best)
                            .mapping_timeout(ms(mapping.unwrap_or(u64::MAX / 2)))
                            .build().unwrap()
                    }
                };
                let again = again.plan(&platform);
                prop_assert!(
                    !again.is_err_and(|error| error.what == refusal.what),
                    "{refusal:?}"
                );
            }
        }
    }
}

#[test]
fn settings_that_do_not_outlast_the_outage_die_in_the_simulation() {
    // The simulation of an outage can tell: one probe fewer, and some start of it ends the connection.
    let outage = Duration::from_secs(8);
    let policy = Policy::detect(Duration::from_secs(30)).survive(outage).slow_readers(true).build().unwrap();
    let mut plan = policy.plan(&Platform::linux()).unwrap();
    let Set::To(keepalive) = plan.settings.keepalive else { panic!("{plan:?}") };
    let weaker = crate::Keepalive::new(keepalive.idle(), keepalive.interval(), keepalive.probes() - 3);
    plan.settings.keepalive = Set::To(weaker.unwrap());
    let mut random = Seeded(1);
    assert!((0..100).any(|_| !survives_simulated(&plan, outage, &mut random)));
}

#[test]
fn whoever_says_nothing_of_outages_gets_a_plan() {
    for detect in (5_500..60_000).step_by(1_500) {
        let policy = Policy::detect(ms(detect)).build().unwrap();
        for platform in platforms() {
            let Ok(plan) = policy.plan(&platform) else {
                // Ten probes, more than half a second apart.
                assert!(platform.fixed_probes.is_some() && detect < 10_000, "{detect}: {platform:?}");
                continue;
            };
            survives(&plan, &platform, plan.outage).unwrap();
            assert_eq!(shortfalls(&Protection::of(&plan.settings), &platform, &policy), [], "{plan:?}");
            // Linux survives what is usual, the others what they can.
            assert!(plan.outage == policy.outage() || platform.system != System::Linux, "{plan:?}");
            assert!(plan.outage * 7 >= policy.outage(), "{detect}: {plan:?}");
        }
    }
}

#[test]
fn a_goal_out_of_reach_names_both_numbers() {
    let policy = Policy::detect(Duration::from_secs(3)).survive(Duration::from_secs(2)).build().unwrap();
    let text = std::format!("{}", policy.plan(&Platform::linux()).unwrap_err());
    assert_eq!(text, "a death can't be noticed within 3 s: the best that survives the outage is 7.6 s");
    let policy = Policy::detect(Duration::from_secs(30)).bytes_per_day(1_000).build().unwrap();
    let text = std::format!("{}", policy.plan(&Platform::linux()).unwrap_err());
    assert!(text.starts_with("1 kB/day is not enough: the other goals need "), "{text}");
    let policy = Policy::detect(Duration::from_secs(30)).mapping_timeout(Duration::from_secs(1)).build();
    let text = std::format!("{}", policy.unwrap().plan(&Platform::linux()).unwrap_err());
    assert!(text.starts_with("an idle timeout of 1 s on the way can't be kept open"), "{text}");
}

#[test]
fn a_default_that_is_not_known_is_a_warning_and_no_promise() {
    let policy = Policy::detect(Duration::from_secs(30)).slow_readers(true).build().unwrap();
    let platform = Platform { retries: Known::Not(Why::UnreadableDefault), ..Platform::linux() };
    let plan = policy.plan(&platform).unwrap();
    assert_eq!(plan.settings.rto_max, Set::Leave);
    assert_eq!(plan.detection.in_flight, Bound::Unknown(Why::UnreadableDefault));
    assert!(plan.warnings.contains(&Warning::DefaultUnknown { why: Why::UnreadableDefault }));
    // A user timeout needs no such default.
    let policy = Policy::detect(Duration::from_secs(30)).build().unwrap();
    let plan = policy.plan(&platform).unwrap();
    assert_eq!(plan.settings, policy.plan(&Platform::linux()).unwrap().settings);
}
